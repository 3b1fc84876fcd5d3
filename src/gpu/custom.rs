//! Holds a dispatch of a caller's own WGSL against the module itself, reflected at run time:
//! what the build script does for the crate's shaders.
use crate::{
    error::GpuError,
    plan::{Access, Dispatch},
    value::{ElementType, TensorType},
};
use wgpu::naga::{
    AddressSpace, GlobalVariable, Handle, Module, Scalar, ScalarKind, ShaderStage, StorageAccess,
    Type, TypeInner,
    front::wgsl,
    proc::Layouter,
    valid::{Capabilities, FunctionInfo, ValidationFlags, Validator},
};

/// Checks that the entry point exists and that its buffers, parameters and overrides are those
/// of the dispatch, whose values have `types`.
pub fn check(dispatch: &Dispatch, types: &[TensorType]) -> Result<(), GpuError> {
    let entry = &dispatch.kernel.entry;
    compare(dispatch, types)
        .map_err(|message| GpuError::Custom { entry: entry.to_string(), message })
}

fn compare(dispatch: &Dispatch, types: &[TensorType]) -> Result<(), String> {
    if dispatch.kernel.multiplies_matrices() && !dispatch.vouched {
        let message = "no check bounds what cooperative matrices load and store: their text needs its author's word, \
                       `Dispatch::without_checks`";
        return Err(message.to_owned());
    }
    let text = dispatch.kernel.wgsl();
    let module = wgsl::parse_str(&text).map_err(|error| error.emit_to_string(&text))?;
    // What this device cannot do, wgpu says when it compiles the module.
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| error.emit_to_string(&text))?;
    let entries = &module.entry_points;
    let compute =
        |name: &str| entries.iter().position(|e| e.name == name && e.stage == ShaderStage::Compute);
    let Some(entry) = compute(&dispatch.kernel.entry) else {
        let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
        return Err(format!("no such compute entry point; there are: {}", names.join(", ")));
    };
    check_overrides(dispatch, &module)?;
    let shader = Shader::new(&module, info.get_entry_point(entry))?;
    shader.check_bindings(dispatch, types)?;
    shader.check_params(dispatch)
}

/// Every constant is an override of the shader, given once. What else is wrong with one, wgpu says
/// when it compiles the kernel.
fn check_overrides(dispatch: &Dispatch, module: &Module) -> Result<(), String> {
    let given = &dispatch.kernel.overrides;
    for (n, (name, _)) in given.iter().enumerate() {
        if !module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name)) {
            return Err(format!("the shader declares no override {name}"));
        }
        if given[..n].iter().any(|(other, _)| other == name) {
            return Err(format!("override {name} is given twice"));
        }
    }
    Ok(())
}

/// The buffers that an entry point uses.
struct Shader<'a> {
    module: &'a Module,
    storage: Vec<Buffer<'a>>,
    uniform: Option<Buffer<'a>>,
}

struct Buffer<'a> {
    name: &'a str,
    binding: u32,
    access: Access,
    /// Least bytes: of an array without length, one element.
    bytes: u64,
    ty: Handle<Type>,
}

impl<'a> Shader<'a> {
    fn new(module: &'a Module, entry: &FunctionInfo) -> Result<Self, String> {
        let mut layouter = Layouter::default();
        layouter.update(module.to_ctx()).map_err(|error| error.to_string())?;
        let mut shader = Self { module, storage: Vec::new(), uniform: None };
        for (handle, global) in module.global_variables.iter() {
            if entry[handle].is_empty() {
                continue;
            }
            let (Some(at), name) = (&global.binding, named(global)) else { continue };
            let access = match global.space {
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                    Access::Write
                }
                AddressSpace::Storage { .. } | AddressSpace::Uniform => Access::Read,
                _ => return Err(format!("{name} is neither a storage nor a uniform buffer")),
            };
            if at.group != 0 {
                return Err(format!("{name} is in group {}; only group 0 is bound", at.group));
            }
            let bytes = u64::from(layouter[global.ty].size);
            let buffer = Buffer { name, binding: at.binding, access, bytes, ty: global.ty };
            match (global.space, at.binding) {
                (AddressSpace::Uniform, 0) => shader.uniform = Some(buffer),
                (AddressSpace::Uniform, n) => {
                    return Err(format!(
                        "uniform {name} is at binding {n}; params go to binding 0"
                    ));
                }
                _ => shader.storage.push(buffer),
            }
        }
        Ok(shader)
    }

    fn check_bindings(&self, dispatch: &Dispatch, types: &[TensorType]) -> Result<(), String> {
        for (n, bound) in dispatch.bindings.iter().enumerate() {
            let number = bound.binding;
            if dispatch.bindings[..n].iter().any(|other| other.binding == number) {
                return Err(format!("binding {number} is bound twice"));
            }
            if !self.storage.iter().any(|buffer| buffer.binding == number) {
                return Err(format!("no storage buffer is used at binding {number}"));
            }
        }
        for Buffer { name, binding, access, bytes, ty } in &self.storage {
            let Some(bound) = dispatch.bindings.iter().find(|b| b.binding == *binding) else {
                return Err(format!("{name} at binding {binding} is not bound"));
            };
            if bound.access != *access {
                let say = |access: Access| match access {
                    Access::Read => "read",
                    Access::Write => "read_write",
                };
                let (declared, found) = (say(*access), say(bound.access));
                return Err(format!("{name} is declared {declared} and bound as {found}"));
            }
            let Some(value) = bound.value else { continue };
            let of = types[value.index()];
            let found = of.bytes().next_multiple_of(16);
            if found < *bytes {
                return Err(format!("{name} takes {bytes} bytes; {value} ({of}) holds {found}"));
            }
            if let Some(other) = unlike(self.module, *ty, of.element) {
                let element = of.element;
                return Err(format!("{name} holds {other}; {value} ({of}) holds {element}"));
            }
        }
        Ok(())
    }

    fn check_params(&self, dispatch: &Dispatch) -> Result<(), String> {
        let found = dispatch.params.len();
        match &self.uniform {
            Some(Buffer { name, bytes, .. }) if *bytes != found as u64 => {
                Err(format!("uniform {name} takes {bytes} bytes; the params have {found}"))
            }
            None if found != 0 => Err("params are given but no uniform is used".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The first scalar in a type that is not this element, if there is one. Bits are not read as
/// another type than was written.
fn unlike(module: &Module, ty: Handle<Type>, element: ElementType) -> Option<String> {
    let scalar = match &module.types[ty].inner {
        TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => *scalar,
        TypeInner::Vector { scalar, .. } | TypeInner::Matrix { scalar, .. } => *scalar,
        TypeInner::Array { base, .. } => return unlike(module, *base, element),
        TypeInner::Struct { members, .. } => {
            return members.iter().find_map(|member| unlike(module, member.ty, element));
        }
        _ => return Some("what is no number".to_owned()),
    };
    let expected = match element {
        ElementType::F32 => Scalar::F32,
        ElementType::F16 => Scalar::F16,
        // WGSL has no such type: two to a word.
        ElementType::Bf16 | ElementType::U32 => Scalar::U32,
    };
    let letter = match scalar.kind {
        ScalarKind::Float | ScalarKind::AbstractFloat => 'f',
        ScalarKind::Sint | ScalarKind::AbstractInt => 'i',
        ScalarKind::Uint => 'u',
        ScalarKind::Bool => 'b',
    };
    (scalar != expected).then(|| format!("{letter}{}", 8 * u32::from(scalar.width)))
}

fn named(global: &GlobalVariable) -> &str {
    global.name.as_deref().unwrap_or("a nameless variable")
}
