//! Tensors of a plan in buffers of the caller's own.
use super::{DeviceTensor, Gpu};
use crate::{
    error::GpuError,
    plan::{Access, BufferRole, Placement, Plan, PlannedBuffer},
    value::Value,
};

/// Puts these values of the plan into the caller's buffers, which come after the plan's own.
pub(super) fn place(
    gpu: &Gpu,
    plan: &mut Plan,
    tensors: &[(Value, DeviceTensor)],
) -> Result<Vec<wgpu::Buffer>, GpuError> {
    let mut buffers = Vec::with_capacity(tensors.len());
    for (value, tensor) in tensors {
        check(gpu, plan, *value, tensor)?;
        let buffer = plan.buffers.len();
        let roots = plan.0.roots.iter().zip(&mut plan.0.placements);
        for place in
            roots.filter(|(root, _)| *root == value).filter_map(|(_, place)| place.as_mut())
        {
            *place = Placement { buffer, offset: tensor.offset + place.offset };
        }
        plan.0.buffers.push(PlannedBuffer { bytes: 0, role: BufferRole::Persistent });
        buffers.push(tensor.buffer.clone());
    }
    release_unused(plan);
    check_aliases(plan, tensors)?;
    Ok(buffers)
}

fn refuse(value: Value, expected: impl ToString, found: impl ToString) -> GpuError {
    GpuError::HostBuffer { value, expected: expected.to_string(), found: found.to_string() }
}

fn check(gpu: &Gpu, plan: &Plan, value: Value, tensor: &DeviceTensor) -> Result<(), GpuError> {
    let action = "bind a buffer to";
    let of = plan.find(value).ok_or(GpuError::Foreign { value, action })?;
    let known = plan.inputs.contains(&value) || plan.outputs.contains(&value);
    if !known || plan.placements[value.index()].is_none() {
        return Err(GpuError::NoContents { value, action });
    }
    if plan.roots[value.index()] != value {
        return Err(refuse(value, "a tensor of its own", "a part of another"));
    }
    if tensor.of != of {
        return Err(refuse(value, of, tensor.of));
    }
    if !tensor.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        return Err(refuse(value, "usage STORAGE", format!("{:?}", tensor.buffer.usage())));
    }
    let alignment = gpu.target().storage_alignment.max(16);
    if !tensor.offset.is_multiple_of(alignment) {
        return Err(refuse(
            value,
            format!("an offset that is a multiple of {alignment}"),
            tensor.offset,
        ));
    }
    let (size, bytes) = (tensor.buffer.size(), of.bytes().next_multiple_of(16));
    if tensor.offset.checked_add(bytes).is_none_or(|end| end > size) {
        let expected = format!("{bytes} bytes from byte {} on", tensor.offset);
        return Err(refuse(value, expected, format!("a buffer of {size}")));
    }
    Ok(())
}

/// The plan's own buffers that no value lives in any more take no memory.
fn release_unused(plan: &mut Plan) {
    let mut used = vec![false; plan.buffers.len()];
    for place in plan.placements.iter().flatten() {
        used[place.buffer] = true;
    }
    let buffers = plan.0.buffers.iter_mut().zip(used);
    buffers.filter(|(_, used)| !used).for_each(|(buffer, _)| buffer.bytes = 0);
}

/// Two values must not share bytes if a launch writes one of them, nor may one launch write a buffer and
/// read it.
fn check_aliases(plan: &Plan, tensors: &[(Value, DeviceTensor)]) -> Result<(), GpuError> {
    let written = |value: Value| {
        let bindings = plan.all().flat_map(|dispatch| &dispatch.bindings);
        let mut writes = bindings.filter(|binding| binding.access == Access::Write);
        writes.any(|binding| binding.value.is_some_and(|of| plan.roots[of.index()] == value))
    };
    for (at, (value, tensor)) in tensors.iter().enumerate() {
        let range = |of: &DeviceTensor| of.offset..of.offset + of.of.bytes().next_multiple_of(16);
        for (other, second) in &tensors[..at] {
            let (a, b) = (range(tensor), range(second));
            let meet = tensor.buffer == second.buffer && a.start < b.end && b.start < a.end;
            if value == other || meet && (written(*value) || written(*other)) {
                return Err(refuse(*value, "bytes of its own", format!("bytes of {other}")));
            }
        }
    }
    let host = |value: Value| tensors.iter().find(|(of, _)| *of == plan.roots[value.index()]);
    for dispatch in plan.all() {
        let mut uses: Vec<(&wgpu::Buffer, Access)> = Vec::new();
        for binding in &dispatch.bindings {
            let Some((value, tensor)) = binding.value.and_then(host) else { continue };
            if uses
                .iter()
                .any(|(buffer, access)| *buffer == &tensor.buffer && *access != binding.access)
            {
                let expected =
                    format!("a buffer that {} does not both read and write", dispatch.kernel);
                return Err(refuse(*value, expected, "one that it does"));
            }
            uses.push((&tensor.buffer, binding.access));
        }
    }
    Ok(())
}
