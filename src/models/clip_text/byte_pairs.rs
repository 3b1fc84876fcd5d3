//! Byte pair encoding: a word's bytes, of which neighbours are joined as long as a merge is known.
use crate::error::Unexpected;
use std::{cmp::Reverse, collections::BinaryHeap, collections::HashMap};

/// The merges of a vocabulary, and its tokens of single bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BytePairs {
    /// Rank and result of each pair of tokens.
    merges: HashMap<[u32; 2], (usize, u32)>,
    /// The token of each byte inside a word, and at its end.
    bytes: Vec<[u32; 2]>,
}

/// The letter that stands for a byte: itself if it is printed, else the next one from 256 on.
fn letters() -> impl Iterator<Item = char> {
    let printed = |byte: &u8| matches!(*byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 256;
    (0..=u8::MAX).map(move |byte| match printed(&byte) {
        true => char::from(byte),
        false => {
            next += 1;
            char::from_u32(next - 1).unwrap_or_default()
        }
    })
}

impl BytePairs {
    /// No merges; `id` finds a token, and `end` stands at the end of a word.
    pub fn new(
        id: impl Fn(&str) -> Result<u32, Unexpected>,
        end: &str,
    ) -> Result<Self, Unexpected> {
        let both = |letter: char| Ok([id(&letter.to_string())?, id(&format!("{letter}{end}"))?]);
        Ok(Self { merges: HashMap::new(), bytes: letters().map(both).collect::<Result<_, _>>()? })
    }

    /// Adds a merge, which comes after those before.
    pub fn add(&mut self, pair: [u32; 2], joined: u32) {
        let rank = self.merges.len();
        self.merges.entry(pair).or_insert((rank, joined));
    }

    /// Appends the tokens of a word: of the pairs that are known, the first merge's is joined, the leftmost
    /// first, until none is left.
    pub fn encode(&self, word: &str, ids: &mut Vec<u32>) {
        let bytes = word.as_bytes();
        let mut tokens: Vec<Option<u32>> =
            bytes.iter().map(|byte| Some(self.bytes[usize::from(*byte)][0])).collect();
        if let (Some(token), Some(byte)) = (tokens.last_mut(), bytes.last()) {
            *token = Some(self.bytes[usize::from(*byte)][1]);
        }
        // Neighbours of each token that is left.
        let mut before: Vec<usize> = (0..tokens.len()).map(|at| at.wrapping_sub(1)).collect();
        let mut after: Vec<usize> = (1..=tokens.len()).collect();
        let mut heap = BinaryHeap::new();
        let pair = |tokens: &[Option<u32>], left: usize, right: usize| {
            let token = |at: usize| tokens.get(at).copied().flatten();
            let pair = [token(left)?, token(right)?];
            let (rank, joined) = self.merges.get(&pair)?;
            Some(Reverse((*rank, left, right, pair, *joined)))
        };
        heap.extend((1..tokens.len()).filter_map(|right| pair(&tokens, right - 1, right)));
        while let Some(Reverse((_, left, right, [a, b], joined))) = heap.pop() {
            let holds = after[left] == right && [tokens[left], tokens[right]] == [Some(a), Some(b)];
            if !holds {
                continue;
            }
            (tokens[left], tokens[right]) = (Some(joined), None);
            after[left] = after[right];
            if let Some(next) = before.get_mut(after[left]) {
                *next = left;
            }
            heap.extend(pair(&tokens, before[left], left));
            heap.extend(pair(&tokens, left, after[left]));
        }
        ids.extend(tokens.into_iter().flatten());
    }
}
