//! A collective operation of the ranks. They exchange headers first: which operation, and how many elements. Then they
//! exchange the elements. A rank whose header says that it ends, ends the others.
use crate::backoff::Backoff;
use mpi::{
    Rank, Tag,
    request::{LocalScope, Request, scope},
    topology::SimpleCommunicator,
    traits::{Communicator, Destination, Equivalence, Source},
};
use std::{
    iter::repeat_n,
    mem,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

/// Elements of a message at most. MPI counts to 2^31.
const MOST: usize = 1 << 22;

/// Bytes of a text at most.
const MOST_TEXT: usize = 2000;

/// Tags of messages.
const HEADER: Tag = 1;
const TEXT: Tag = 2;
const NUMBERS: Tag = 3;

/// The operations, as headers name them. The number beside it counts elements or bytes.
const SUM: u64 = 0;
const GATHER: u64 = 1;
const END: u64 = 2;

/// Bytes a second at least, while numbers are on their way and nobody stands still.
const LEAST_SPEED: f64 = 250e6;

/// How the operations ended.
#[derive(Clone, Debug)]
pub struct End {
    /// By which rank.
    pub rank: usize,
    pub why: String,
    /// Whether all of them know, so that MPI can end too.
    pub agreed: bool,
}

/// What the thread of MPI and the other threads of its process share while messages are on their way.
#[derive(Debug)]
pub struct Status {
    /// The rank that is waited for, or [`usize::MAX`].
    pub late: AtomicUsize,
    /// Whether all ranks are to be ended.
    pub abort: AtomicBool,
}

impl Default for Status {
    fn default() -> Self {
        Self { late: AtomicUsize::new(usize::MAX), abort: AtomicBool::new(false) }
    }
}

/// The ranks, as one of them sees them.
pub struct Meeting<'a> {
    pub world: &'a SimpleCommunicator,
    pub status: &'a Status,
    pub rank: usize,
    pub ranks: usize,
}

impl Meeting<'_> {
    /// Replaces `numbers` by the sum over all ranks. Each adds up a part of them, in the order of the ranks, and
    /// gives it to the others: that is `2 (n - 1) / n` times the numbers on every rank's wire, as of a ring, but each
    /// number is added in the same order on every rank and in every run.
    pub fn sum(&self, numbers: &mut [f32], brought: &mut Vec<f32>) -> Result<(), End> {
        let headers = self.meet(SUM, numbers.len(), "")?;
        self.check_lengths(&headers)?;
        let all = numbers.len();
        let bound = |rank| all / self.ranks * rank + (all % self.ranks).min(rank);
        let part = |rank| bound(rank)..bound(rank + 1);
        let (own, length) = (part(self.rank), part(self.rank).len());
        let time = Duration::from_secs_f64(4.0 * all as f64 / LEAST_SPEED);

        // Every rank's numbers of this one's part, one rank's after another's.
        brought.resize(self.ranks * length, 0.0);
        brought[self.rank * length..][..length].copy_from_slice(&numbers[own.clone()]);
        let sent = self.others().map(|rank| (rank, &numbers[part(rank)])).collect();
        let places = self.without_own(cut(brought, repeat_n(length, self.ranks)));
        self.exchange(NUMBERS, sent, places, time);
        let mut brought = (0..self.ranks).map(|rank| &brought[rank * length..][..length]);
        let sum = &mut numbers[own];
        if let Some(first) = brought.next() {
            sum.copy_from_slice(first);
        }
        for numbers in brought {
            sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }

        let mut parts = cut(numbers, (0..self.ranks).map(|rank| part(rank).len()));
        let own = mem::take(&mut parts[self.rank]);
        let sent = self.others().map(|rank| (rank, &*own)).collect();
        self.exchange(NUMBERS, sent, self.without_own(parts), time);
        Ok(())
    }

    /// The texts of all ranks, this one's among them; a long one is cut.
    pub fn all_gather(&self, text: &str) -> Result<Vec<String>, End> {
        let text = short(text);
        let headers = self.meet(GATHER, text.len(), text)?;
        Ok(self.texts(text, headers.iter().map(|&[_, length]| length as usize).collect()))
    }

    /// Ends all operations, at the next one of the others.
    pub fn end(&self, why: &str) -> End {
        let why = short(why);
        let ended = self.meet(END, why.len(), why);
        ended.err().unwrap_or_else(|| End { rank: self.rank, why: why.into(), agreed: true })
    }

    /// Ends all ranks.
    pub fn abort(&self) -> ! {
        self.world.abort(1)
    }

    /// Exchanges headers, and returns those of all ranks. If one of them ends, `text` is this rank's reason, if it does too.
    fn meet(&self, what: u64, length: usize, text: &str) -> Result<Vec<[u64; 2]>, End> {
        let headers = self.headers([what, length as u64]);
        if let Some(rank) = headers.iter().position(|&[what, _]| what == END) {
            let lengths = headers.iter().map(|&[what, length]| match what {
                END => length as usize,
                _ => 0,
            });
            let why = self.texts(text, lengths.collect()).swap_remove(rank);
            return Err(End { rank, why, agreed: true });
        }
        match headers.iter().position(|&[what, _]| what != headers[0][0]) {
            Some(rank) => {
                let why = "it is at another place of the run than rank 0".to_owned();
                Err(End { rank, why, agreed: false })
            }
            None => Ok(headers),
        }
    }

    fn check_lengths(&self, headers: &[[u64; 2]]) -> Result<(), End> {
        let expected = headers[0][1];
        match headers.iter().enumerate().find(|(_, header)| header[1] != expected) {
            Some((rank, [_, found])) => {
                let why = format!("expected {expected} numbers as of rank 0, found {found}");
                Err(End { rank, why, agreed: false })
            }
            None => Ok(()),
        }
    }

    /// The headers of all ranks.
    fn headers(&self, own: [u64; 2]) -> Vec<[u64; 2]> {
        let mut headers = vec![own; self.ranks];
        let sent = self.others().map(|rank| (rank, own.as_slice())).collect();
        let places = headers.iter_mut().map(|header| header.as_mut_slice()).collect();
        self.exchange(HEADER, sent, self.without_own(places), Duration::ZERO);
        headers
    }

    /// The texts of all ranks, of these lengths; one of none is not sent.
    fn texts(&self, own: &str, lengths: Vec<usize>) -> Vec<String> {
        let mut bytes = vec![0_u8; lengths.iter().sum()];
        let mut places = cut(&mut bytes, lengths.iter().copied());
        let own = &own.as_bytes()[..lengths[self.rank]];
        places[self.rank].copy_from_slice(own);
        let sent = self.others().map(|rank| (rank, own)).collect();
        self.exchange(TEXT, sent, self.without_own(places), Duration::ZERO);
        let texts = cut(&mut bytes, lengths.iter().copied()).into_iter();
        texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    fn others(&self) -> impl Iterator<Item = usize> {
        let own = self.rank;
        (0..self.ranks).filter(move |rank| *rank != own)
    }

    /// What is of each rank, without this one's own.
    fn without_own<T>(&self, parts: Vec<T>) -> Vec<(usize, T)> {
        parts.into_iter().enumerate().filter(|(rank, _)| *rank != self.rank).collect()
    }

    /// Sends to ranks what is theirs, and waits until all places hold what is to come. For `time` it may well be on its
    /// way.
    fn exchange<'a, T: Equivalence>(
        &self,
        tag: Tag,
        sent: Vec<(usize, &'a [T])>,
        places: Vec<(usize, &'a mut [T])>,
        time: Duration,
    ) {
        scope(|scope| {
            let mut open = Vec::new();
            for (rank, place) in places {
                let other = self.world.process_at_rank(rank as Rank);
                for part in place.chunks_mut(MOST) {
                    open.push((rank, other.immediate_receive_into_with_tag(scope, part, tag)));
                }
            }
            for (rank, numbers) in sent {
                let other = self.world.process_at_rank(rank as Rank);
                for part in numbers.chunks(MOST) {
                    open.push((rank, other.immediate_send_with_tag(scope, part, tag)));
                }
            }
            self.wait(open, Backoff::after(time));
        });
    }

    /// Waits until messages are done, or all is over.
    fn wait<'a, T>(
        &self,
        mut open: Vec<(usize, Request<'a, [T], &LocalScope<'a>>)>,
        mut backoff: Backoff,
    ) {
        loop {
            let before = open.len();
            let tested = open.into_iter().map(|(rank, request)| (rank, request.test()));
            open = tested.filter_map(|(rank, done)| Some((rank, done.err()?))).collect();
            let late = open.first().map_or(usize::MAX, |(rank, _)| *rank);
            self.status.late.store(late, Ordering::Relaxed);
            if open.is_empty() {
                return;
            }
            if self.status.abort.load(Ordering::Relaxed) {
                // Nothing waits for these messages any more.
                self.abort();
            }
            if open.len() < before {
                backoff.reset();
            }
            backoff.wait();
        }
    }
}

/// Cuts numbers into parts of these lengths.
fn cut<T>(mut rest: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let parts = lengths.map(|length| {
        let (part, after) = mem::take(&mut rest).split_at_mut(length);
        rest = after;
        part
    });
    parts.collect()
}

/// The beginning of a text.
fn short(text: &str) -> &str {
    let end = (0..=MOST_TEXT).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_and_texts_are_cut() {
        let mut numbers = [1, 2, 3, 4, 5];
        let parts = cut(&mut numbers, [2, 0, 3].into_iter());
        assert_eq!(parts, [&[1, 2][..], &[], &[3, 4, 5]]);
        assert_eq!(short("größer"), "größer");
        let long = "a".to_owned() + &"ö".repeat(MOST_TEXT);
        assert_eq!(short(&long).len(), MOST_TEXT - 1);
    }
}
