//! Views of storages: PyTorch's tensors.
use super::pickle::View;
use safetensors::Dtype;

/// Element type of a storage.
pub(super) fn element(class: &str) -> Option<Dtype> {
    Some(match class.strip_prefix("torch.")? {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "DoubleStorage" => Dtype::F64,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

/// Bytes of an element.
pub(super) fn size_of_element(of: Dtype) -> Option<u64> {
    Some(of.bitsize() as u64 / 8)
}

/// Elements of the storage, from the view's first to its last; none where they pass 64 bits.
pub(super) fn reach(view: &View) -> Option<u64> {
    if view.shape.contains(&0) {
        return Some(0);
    }
    let last = view.shape.iter().zip(&view.strides).try_fold(0u64, |last, (extent, stride)| {
        last.checked_add((extent - 1).checked_mul(*stride)?)
    });
    last?.checked_add(1)
}

/// The elements of a view, row-major, of the bytes from its first element on.
pub(super) fn gathered(view: &View, bytes: &[u8], size: usize) -> Vec<u8> {
    let count: u64 = view.shape.iter().product();
    let mut index = vec![0; view.shape.len()];
    let mut result = Vec::with_capacity(count as usize * size);
    for _ in 0..count {
        let at: u64 = index.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum();
        let at = at as usize * size;
        result.extend_from_slice(&bytes[at..at + size]);
        for (i, extent) in index.iter_mut().zip(&view.shape).rev() {
            *i += 1;
            if *i < *extent {
                break;
            }
            *i = 0;
        }
    }
    result
}
