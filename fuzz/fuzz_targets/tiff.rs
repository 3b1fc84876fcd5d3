#![no_main]
use ddim_fuzz::mutation::Format;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    Format::Tiff.read(bytes);
});
