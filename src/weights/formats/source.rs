//! The bytes of a file, on disk or in memory.
use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom},
};

/// Where the bytes of a file come from.
pub(super) enum Source<'a> {
    Memory(&'a [u8]),
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

    /// The bytes `from..to`, which lie within the length.
    pub fn range(&self, from: u64, to: u64) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Self::Memory(bytes) => Ok(bytes[from as usize..to as usize].into()),
            Self::Disk(file) => {
                let (mut file, mut bytes) = (file, Vec::new());
                bytes.try_reserve_exact(usize::try_from(to - from).unwrap_or(usize::MAX))?;
                file.seek(SeekFrom::Start(from))?;
                if file.take(to - from).read_to_end(&mut bytes)? as u64 != to - from {
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
            Self::Memory(bytes) => Box::new(Cursor::new(*bytes)),
            Self::Disk(file) => Box::new(BufReader::new(file)),
        }
    }
}

/// A file that is read from any place.
pub(super) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}
