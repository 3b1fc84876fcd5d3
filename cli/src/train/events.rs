//! TensorBoard's event files: records of a length, its checksum, a message and its checksum
//! (tensorflow/core/lib/io/record_writer.h); the messages are protocol buffers (tensorflow/core/util/event.proto).
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Kinds of fields.
const VARINT: u8 = 0;
const DOUBLE: u8 = 1;
const BYTES: u8 = 2;
const FLOAT: u8 = 5;

/// A message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn with(mut self, field: u8, kind: u8, bytes: &[u8]) -> Self {
        self.0.push(field << 3 | kind);
        if kind == BYTES {
            self.varint(bytes.len() as u64);
        }
        self.0.extend(bytes);
        self
    }

    fn number(mut self, field: u8, number: u64) -> Self {
        self.0.push(field << 3 | VARINT);
        self.varint(number);
        self
    }
}

/// CRC-32C, turned and shifted, as the format has it.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn record(message: &Message) -> Vec<u8> {
    let length = (message.0.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), &message.0, &checksum(&message.0)].concat()
}

/// A file of events.
pub struct Events {
    pub path: PathBuf,
    file: BufWriter<File>,
}

impl Events {
    /// Begins a file in a folder, for a run that goes on after so many steps: readers drop what other files say of
    /// later ones.
    pub fn begin(folder: &Path, steps: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let seconds = now() as u64;
        let name = format!("events.out.tfevents.{seconds:010}.{}.ddim", std::process::id());
        let path = folder.join(name);
        let mut events = Self { file: BufWriter::new(File::create(&path)?), path };
        events.write(Message::default().with(3, BYTES, b"brain.Event:2"))?;
        let session = Message::default().number(1, 1);
        events.write(Message::default().number(2, steps + 1).with(7, BYTES, &session.0))?;
        events.file.flush()?;
        Ok(events)
    }

    fn write(&mut self, message: Message) -> io::Result<()> {
        let timed = message.with(1, DOUBLE, &now().to_le_bytes());
        self.file.write_all(&record(&timed))
    }

    /// Adds numbers of a step.
    pub fn scalars(&mut self, step: u64, numbers: &[(&str, f64)]) -> io::Result<()> {
        let mut summary = Message::default();
        for (tag, number) in numbers {
            let value = Message::default().with(1, BYTES, tag.as_bytes());
            let value = value.with(2, FLOAT, &(*number as f32).to_le_bytes());
            summary = summary.with(1, BYTES, &value.0);
        }
        self.write(Message::default().number(2, step).with(5, BYTES, &summary.0))
    }

    /// Adds a PNG of a step.
    pub fn picture(
        &mut self,
        step: u64,
        tag: &str,
        png: &[u8],
        [height, width]: [usize; 2],
    ) -> io::Result<()> {
        let image = Message::default().number(1, height as u64).number(2, width as u64);
        let image = image.number(3, 3).with(4, BYTES, png);
        let value = Message::default().with(1, BYTES, tag.as_bytes()).with(4, BYTES, &image.0);
        let summary = Message::default().with(1, BYTES, &value.0);
        self.write(Message::default().number(2, step).with(5, BYTES, &summary.0))
    }

    /// Lets readers see what was added.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_lengths_and_checksums() {
        let found = record(&Message(b"hello".to_vec()));
        assert_eq!(found[..8], [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(found[8..12], checksum(&found[..8]));
        assert_eq!(found[12..17], *b"hello");
        assert_eq!(found[17..], checksum(b"hello"));
        // CRC-32C of these digits is known; the mask is undone by its inverse.
        let masked = u32::from_le_bytes(checksum(b"123456789"));
        assert_eq!(masked.wrapping_sub(0xa282_ead8).rotate_left(15), 0xe306_9283);
    }

    #[test]
    fn messages_are_protocol_buffers() {
        let of = Message::default().number(2, 300).with(2, FLOAT, &1.5f32.to_le_bytes());
        assert_eq!(of.0, [0x10, 0xac, 0x02, 0x15, 0, 0, 0xc0, 0x3f]);
        let nested = Message::default().with(5, BYTES, &[7; 130]);
        assert_eq!(nested.0[..4], [0x2a, 0x82, 0x01, 7]);
    }
}
