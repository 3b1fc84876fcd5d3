//! The bytes of a pickle: numbers and text as instructions hold them.
use std::io::{self, BufRead, Read};

/// Bytes of the longest text: names of tensors have some hundred.
const LONGEST_TEXT: u64 = 1 << 20;

/// What is wrong with a pickle.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// The bytes could not be read, or end before the pickle does.
    #[error("reading a pickle: {0}")]
    Read(#[from] io::Error),
    /// A function or class outside of the list is called.
    #[error("the pickle calls {0}, which is not on the list of what a file of tensors needs")]
    Call(String),
    /// An instruction that files of tensors do not have.
    #[error("byte {at}: unknown instruction {code:#04x}")]
    Code { at: u64, code: u8 },
    /// Instructions that do not fit what they find.
    #[error("byte {at}: expected {expected}")]
    Stack { at: u64, expected: &'static str },
    /// More than a file of tensors has.
    #[error("byte {at}: more than {most} {what}")]
    Limit { at: u64, what: &'static str, most: u64 },
}

pub(super) type Done<T = ()> = Result<T, PickleError>;

/// The bytes, and how many were read.
pub(super) struct Bytes<'a> {
    pub from: &'a mut dyn BufRead,
    pub at: u64,
}

/// An integer, or one of the two that text writes for the truth values.
pub(super) enum Whole {
    Bool(bool),
    Int(i64),
}

impl Bytes<'_> {
    /// The integer of an instruction.
    pub fn integer(&mut self, code: u8) -> Done<Whole> {
        let number = match code {
            b'J' => i32::from_le_bytes(self.take()?).into(),
            b'K' => u8::from_le_bytes(self.take()?).into(),
            b'M' => u16::from_le_bytes(self.take()?).into(),
            b'I' | b'L' => {
                let line = self.line()?;
                match (code, line.trim_end_matches('L')) {
                    (b'I', "00") => return Ok(Whole::Bool(false)),
                    (b'I', "01") => return Ok(Whole::Bool(true)),
                    (_, digits) => {
                        digits.parse().map_err(|_| self.expected("an integer of 64 bits"))?
                    }
                }
            }
            _ => {
                let length = if code == 0x8a {
                    self.take::<1>()?[0].into()
                } else {
                    u32::from_le_bytes(self.take()?)
                };
                // The first pickle of a legacy file is an integer of ten bytes; its upper ones are dropped.
                let bytes = self.take_text(length.into())?;
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut wide = [if negative { 0xff } else { 0 }; 8];
                wide.iter_mut().zip(&bytes).for_each(|(wide, &byte)| *wide = byte);
                i64::from_le_bytes(wide)
            }
        };
        Ok(Whole::Int(number))
    }

    /// The text of an instruction.
    pub fn text(&mut self, code: u8) -> Done<String> {
        let length = match code {
            b'S' | b'V' => {
                let line = self.line()?;
                let quoted = line.strip_prefix('\'').and_then(|line| line.strip_suffix('\''));
                return Ok(quoted.unwrap_or(&line).to_owned());
            }
            b'U' | b'C' | 0x8c => self.take::<1>()?[0].into(),
            b'T' | b'X' | b'B' => u32::from_le_bytes(self.take()?).into(),
            _ => u64::from_le_bytes(self.take()?),
        };
        let bytes = self.take_text(length)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// So many bytes.
    pub fn take<const BYTES: usize>(&mut self) -> Done<[u8; BYTES]> {
        let mut taken = [0; BYTES];
        self.from.read_exact(&mut taken)?;
        self.at += BYTES as u64;
        Ok(taken)
    }

    /// Bytes whose number the file says: no more memory is taken than there are bytes.
    fn take_text(&mut self, length: u64) -> Done<Vec<u8>> {
        self.limit(
            "bytes of text",
            usize::try_from(length).unwrap_or(usize::MAX),
            LONGEST_TEXT as usize,
        )?;
        let mut taken = Vec::new();
        (&mut *self.from).take(length).read_to_end(&mut taken)?;
        self.at += taken.len() as u64;
        if taken.len() as u64 == length {
            Ok(taken)
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }

    /// A line, without its end.
    pub fn line(&mut self) -> Done<String> {
        let mut line = Vec::new();
        (&mut *self.from).take(LONGEST_TEXT).read_until(b'\n', &mut line)?;
        self.at += line.len() as u64;
        let text = String::from_utf8(line).map_err(|_| self.expected("text"))?;
        text.strip_suffix('\n').map(str::to_owned).ok_or_else(|| self.expected("the end of a line"))
    }

    /// An error where there are more than `most`.
    pub fn limit(&self, what: &'static str, found: usize, most: usize) -> Done {
        if found <= most {
            Ok(())
        } else {
            Err(PickleError::Limit { at: self.at, what, most: most as u64 })
        }
    }

    pub fn expected(&self, expected: &'static str) -> PickleError {
        PickleError::Stack { at: self.at, expected }
    }
}
