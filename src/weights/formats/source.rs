//! The bytes of a file, on disk or in memory. Each read says from where: no reader moves another.
use crate::files;
use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom},
};

/// Where the bytes of a file come from.
pub(super) enum Source<'a> {
    Memory(Cow<'a, [u8]>),
    Disk(File),
}

impl Source<'_> {
    /// Bytes of the file.
    pub fn length(&self) -> io::Result<u64> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::Disk(file) => Ok(file.metadata()?.len()),
        }
    }

    /// The bytes `from..to`: an error where the file is shorter.
    pub fn range(&self, from: u64, to: u64) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Self::Memory(bytes) => {
                let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
                let bytes = range.and_then(|(from, to)| bytes.get(from..to));
                Ok(bytes.ok_or(ErrorKind::UnexpectedEof)?.into())
            }
            Self::Disk(file) => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(usize::try_from(to - from).unwrap_or(usize::MAX))?;
                (Positioned { file, at: from }).take(to - from).read_to_end(&mut bytes)?;
                // A file may shrink while it is read.
                if bytes.len() as u64 != to - from {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Ok(bytes.into())
            }
        }
    }

    /// The first bytes, some eight if the file has as many.
    pub fn first(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().take(8).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The file from its beginning.
    pub fn reader(&self) -> Box<dyn ReadSeek + '_> {
        match self {
            Self::Memory(bytes) => Box::new(Cursor::new(&**bytes)),
            Self::Disk(file) => Box::new(BufReader::new(Positioned { file, at: 0 })),
        }
    }
}

/// A file that is read from any place.
pub(super) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// A reader with a place of its own.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = files::read_at(self.file, bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Positioned<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.file.metadata()?.len(), by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = from.checked_add_signed(by).ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
