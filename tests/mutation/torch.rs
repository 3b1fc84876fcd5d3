//! Files of PyTorch, as small as they get: two tensors, one of which is a transposed view.
use super::{Random, change};

/// A dict of two tensors with plain data beside them.
pub const OBJECTS: [&[u8]; 9] = [
    b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\0\0\0wq\x02",
    b"ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\0\0\0storageq\x04ctorch\nFloatStorage\nq\x05",
    b"X\x01\0\0\x000q\x06X\x03\0\0\0cpuq\x07K\x06tq\x08QK\x00K\x03K\x02\x86K\x01K\x03\x86\x89h\x00)RtRq\x09",
    b"X\x01\0\0\0bq\x0ah\x03((h\x04h\x05X\x01\0\0\x001q\x0bh\x07K\x02tQK\x00K\x02\x85K\x01\x85\x89h\x00)RtR",
    b"X\x05\0\0\0epochq\x0cK\x07X\x04\0\0\0stepq\x0dM\xe1\x10X\x04\0\0\0rateq\x0eG?\xf0\0\0\0\0\0\0",
    b"X\x04\0\0\0longq\x0f\x8a\x02\xff\x7fX\x04\0\0\0noneq\x10NX\x04\0\0\0listq\x11](K\x01\x88\x89e",
    b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\nq\x12}X\x01\0\0\0vK\x01s",
    b"u}X\x09\0\0\0_metadataq\x13ccollections\nOrderedDict\n)Rsb",
    b".",
];

/// A list of the same tensors with and without what stands beside.
pub const LIST: [&[u8]; 4] = [
    b"\x80\x02](}X\x01\0\0\0wctorch._utils\n_rebuild_parameter\nctorch._utils\n_rebuild_tensor_v2\nq\x01",
    b"((X\x07\0\0\0storageq\x02ctorch\nFloatStorage\nX\x01\0\0\x000X\x06\0\0\0cuda:0K\x06tQK\x00K\x06\x85K\x01\x85\x89NtR",
    b"\x88ccollections\nOrderedDict\n)R\x87Rs}X\x01\0\0\0bh\x01((h\x02ctorch\nFloatStorage\nX\x01\0\0\x001X\x03\0\0\0cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89NtRs",
    b"K\x03M\xe1\x10e.",
];

/// The objects of a file after some changes of the pickle's parts, which may also change places.
pub fn changed(random: &mut Random) -> Vec<Vec<u8>> {
    let seed = if random.one_of(2) { &OBJECTS[..] } else { &LIST[..] };
    let mut parts: Vec<Vec<u8>> = seed.iter().map(|part| part.to_vec()).collect();
    let (from, to) = (random.below(parts.len()), random.below(parts.len()));
    match random.below(4) {
        0 => parts.swap(from, to),
        1 => {
            let again = parts[from].clone();
            parts.insert(to, again);
        }
        _ => change(&mut parts[from], random, false),
    }
    parts
}

/// The numbers of the two storages.
fn storages() -> [Vec<u8>; 2] {
    [6, 2].map(|count| (0..count).flat_map(|number| (number as f32).to_le_bytes()).collect())
}

/// The older form: five pickles, then the storages.
pub fn legacy(objects: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    objects.iter().for_each(|part| file.extend(part.as_ref()));
    file.extend(b"\x80\x02]X\x01\0\0\x000aX\x01\0\0\x001a.");
    for numbers in storages() {
        file.extend((numbers.len() as u64 / 4).to_le_bytes());
        file.extend(numbers);
    }
    file
}

/// Today's form: a zip whose records are stored as they are.
pub fn zip(objects: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let pickle: Vec<u8> = objects.iter().flat_map(|part| part.as_ref().to_vec()).collect();
    let [first, second] = storages();
    let records = [
        ("m/data.pkl", pickle),
        ("m/byteorder", b"little".to_vec()),
        ("m/data/0", first),
        ("m/data/1", second),
        ("m/version", b"3\n".to_vec()),
    ];
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in &records {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let size = (bytes.len() as u32).to_le_bytes();
        // Version, flags, method, time, date; the sum, both sizes, and the name's length.
        let shared = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &crc.sum().to_le_bytes(),
            &size,
            &size,
            &(name.len() as u16).to_le_bytes(),
        ]
        .concat();
        let start = (file.len() as u32).to_le_bytes();
        directory.extend([&b"PK\x01\x02\x14\0"[..], &shared, &[0; 12], &start].concat());
        directory.extend(name.bytes());
        file.extend([&b"PK\x03\x04"[..], &shared, &[0; 2], name.as_bytes(), bytes].concat());
    }
    let count = (records.len() as u16).to_le_bytes();
    let (size, start) = ((directory.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes());
    file.extend(directory);
    file.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size, &start, &[0; 2]].concat());
    file
}
