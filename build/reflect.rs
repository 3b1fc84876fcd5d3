//! Finds out what the Rust side of a shader must say. Above 300 lines: uniforms, storage structs, overrides and
//! bindings share one walk over the module.
use crate::assemble::Assembled;
use crate::check::Checked;
use crate::iterations::Iterations;
use crate::prelude::{FACTORS_F32, Four};
use crate::shader::{Binding, Entry, Member, Override, Params, Presence, Shader, Struct};
use crate::workgroup;
use naga::{
    AddressSpace, ArraySize, Expression, GlobalVariable, Handle, Literal, Module, Scalar,
    ScalarKind, StorageAccess, Type, TypeInner, VectorSize, valid,
};

/// WebGPU's default limit of storage buffers per shader stage.
const MAX_STORAGE_BUFFERS: usize = 8;

/// Checks the shader and reflects it; the error is a message for people.
pub fn reflect(assembled: Assembled) -> Result<Shader, String> {
    let plain = Checked::new(&assembled, [Four::F32; 4])?;
    let activation = Checked::new(&assembled, [Four::F16, Four::F32, Four::F32, Four::F32])?;
    let weight = Checked::new(&assembled, [Four::F32, Four::F16, Four::F32, Four::F32])?;
    Checked::new(&assembled, [Four::F16, Four::F16, Four::F32, Four::F32])?;
    Checked::new(&assembled, [Four::PackedF16, Four::Bf16, Four::F32, Four::F32])?;
    Checked::new(&assembled, [Four::PairedF32, Four::PairedF32, Four::PairedF32, Four::F32])?;
    if assembled.text.contains(FACTORS_F32) {
        Checked::new(&assembled, [Four::F16, Four::F16, Four::F32, Four::F16])?;
    }

    let located = |error| format!("{}: {error}", assembled.path);
    let shared = assembled.declares("Params");
    let (params, block) = plain.params(shared).map_err(located)?;
    let variants = [&plain.module, &activation.module, &weight.module];
    let iterations = Iterations::of(&assembled.text).map_err(located)?;
    let overrides = plain.overrides(&assembled.text).map_err(located)?;
    let mut entries = plain.entries(params, variants, &iterations).map_err(located)?;
    for entry in &mut entries {
        let size = workgroup::invocations(&assembled, &overrides, &entry.name);
        entry.invocations = size.map_err(located)?;
    }
    Ok(Shader {
        head: assembled.head(),
        params: block,
        structs: plain.structs(&assembled).map_err(located)?,
        overrides,
        entries,
        name: assembled.name,
        source: assembled.text,
        tiles: assembled.tiles,
    })
}

impl Checked {
    /// The uniform block, which every shader has, and nothing else that is bound but storage.
    fn params(&self, shared: Option<String>) -> Result<(Handle<GlobalVariable>, Params), String> {
        let mut found = None;
        for (handle, variable) in self.module.global_variables.iter() {
            let Some(resource) = &variable.binding else {
                continue;
            };
            let name = variable.name.as_deref().unwrap_or_default();
            match (resource.group, resource.binding, variable.space) {
                (0, 0, AddressSpace::Uniform) if name == "params" => found = Some(handle),
                (0, 1.., AddressSpace::Storage { .. }) => {}
                (group, binding, _) => {
                    return Err(format!(
                        "`{name}` at group {group}, binding {binding}: a shader has \
                         `@group(0) @binding(0) var<uniform> params: Params` and, from binding 1 \
                         of group 0 on, storage buffers"
                    ));
                }
            }
        }
        let params = found.ok_or(
            "no `@group(0) @binding(0) var<uniform> params: Params`: every shader has one",
        )?;
        let ty = self.module.global_variables[params].ty;
        match &self.module.types[ty] {
            Type { name: Some(name), inner: TypeInner::Struct { members, span } }
                if name == "Params" =>
            {
                let members = members.iter().enumerate();
                let members =
                    members.map(|(index, member)| self.member(ty, index, member, shared.is_some()));
                let members = members.collect::<Result<_, _>>()?;
                Ok((params, Params { shared, members, span: *span }))
            }
            _ => Err("`params` is not of type `struct Params`".to_owned()),
        }
    }

    fn member(
        &self,
        ty: Handle<Type>,
        index: usize,
        member: &naga::StructMember,
        shared: bool,
    ) -> Result<Member, String> {
        let name = member.name.clone().unwrap_or_default();
        let inner = &self.module.types[member.ty].inner;
        let rust = rust_type(inner).ok_or_else(|| {
            format!("`Params.{name}` is not a u32, i32 or f32, nor a vec2 or vec4 of them")
        })?;
        let docs = self.module.doc_comments.as_ref();
        let doc = text(docs.and_then(|docs| docs.struct_members.get(&(ty, index))));
        if let Some(operand) = name.strip_prefix("has_")
            // Not every shader that shares the struct has the operand.
            && (rust != "u32" || !shared && !self.globals().any(|(_, global)| global == operand))
        {
            return Err(format!(
                "`Params.{name}` should be a u32 beside a storage buffer `{operand}`"
            ));
        }
        if doc.is_empty() {
            return Err(format!("`Params.{name}` has no `///` comment: it becomes the rustdoc"));
        }
        Ok(Member {
            size: inner.size(self.module.to_ctx()),
            offset: member.offset,
            name,
            rust,
            doc,
        })
    }

    /// The structs in storage buffers.
    fn structs(&self, assembled: &Assembled) -> Result<Vec<Struct>, String> {
        let mut structs: Vec<Struct> = Vec::new();
        for (handle, _) in self.globals() {
            let ty = &self.module.types[self.module.global_variables[handle].ty].inner;
            let TypeInner::Array { base, .. } = *ty else { continue };
            let Type { name: Some(name), inner: TypeInner::Struct { members, span } } =
                &self.module.types[base]
            else {
                continue;
            };
            if structs.iter().any(|known| known.name == *name) {
                continue;
            }
            let shared = assembled.declares(name).ok_or_else(|| {
                format!("struct {name} of a storage buffer belongs in a file of shared/")
            })?;
            let members = members.iter().enumerate();
            let members = members.map(|(index, member)| self.member(base, index, member, true));
            let (name, members) = (name.clone(), members.collect::<Result<_, _>>()?);
            structs.push(Struct { name, shared, members, span: *span });
        }
        Ok(structs)
    }

    /// Whether `Params` has a member of this name.
    fn has_member(&self, name: &str) -> bool {
        let structs = self.module.types.iter().filter_map(|(_, ty)| match &ty.inner {
            TypeInner::Struct { members, .. } if ty.name.as_deref() == Some("Params") => {
                Some(members)
            }
            _ => None,
        });
        structs.flatten().any(|member| member.name.as_deref() == Some(name))
    }

    /// What the host may set, without the presence of optional operands: dispatches set that.
    fn overrides(&self, source: &str) -> Result<Vec<Override>, String> {
        let mut overrides = Vec::new();
        for (_, constant) in self.module.overrides.iter() {
            // A nameless override is an expression of others, like the size of an array.
            let Some(name) = &constant.name else { continue };
            let init = constant.init.ok_or_else(|| format!("override {name} has no default"))?;
            // So is one whose default is not a number: the host sets what it depends on.
            let Expression::Literal(literal) = self.module.global_expressions[init] else {
                continue;
            };
            let (rust, default, number) = match literal {
                Literal::U32(value) => ("u32", value.to_string(), f64::from(value)),
                Literal::I32(value) => ("i32", value.to_string(), f64::from(value)),
                Literal::F32(value) => ("f32", format!("{value:?}"), f64::from(value)),
                Literal::Bool(value) => ("bool", value.to_string(), f64::from(value)),
                other => return Err(format!("override {name}: {other:?} has no place in Rust")),
            };
            if let Some(operand) = name.strip_prefix("HAS_") {
                let operand = operand.to_lowercase();
                if default != "false" || !self.globals().any(|(_, global)| *global == operand) {
                    return Err(format!(
                        "override {name} should be a bool, false by default, beside a storage \
                         buffer `{operand}`"
                    ));
                }
                continue;
            }
            let doc = comment_above(source, &format!("override {name}"));
            overrides.push(Override { name: name.clone(), rust, default, number, doc });
        }
        Ok(overrides)
    }

    /// Every entry point with the buffers that it reaches. `variants` are this module and those
    /// in which only `activation4`, or only `weight4`, is f16.
    fn entries(
        &self,
        params: Handle<GlobalVariable>,
        variants: [&Module; 3],
        iterations: &Iterations,
    ) -> Result<Vec<Entry>, String> {
        let docs = self.module.doc_comments.as_ref();
        let mut entries = Vec::new();
        let mut unused: Vec<_> = self.globals().map(|(handle, _)| handle).collect();
        for (index, point) in self.module.entry_points.iter().enumerate() {
            let uses = self.info.get_entry_point(index);
            if uses[params].is_empty() {
                return Err(format!("entry point `{}` does not read `params`", point.name));
            }
            let mut bindings = Vec::new();
            for (handle, name) in self.globals().filter(|(handle, _)| !uses[*handle].is_empty()) {
                unused.retain(|other| *other != handle);
                let binding = self.binding(handle, name, variants)?;
                let changes = valid::GlobalUse::WRITE | valid::GlobalUse::ATOMIC;
                if binding.written && !uses[handle].intersects(changes) {
                    return Err(format!(
                        "entry point `{}` only reads `{name}`, which is `read_write`: give it \
                         another variable, `read`, at the same binding",
                        point.name
                    ));
                }
                bindings.push(binding);
            }
            if bindings.len() > MAX_STORAGE_BUFFERS {
                return Err(format!(
                    "entry point `{}` has {} storage buffers; WebGPU's default limit is \
                     {MAX_STORAGE_BUFFERS}",
                    point.name,
                    bindings.len()
                ));
            }
            bindings.sort_by_key(|binding| binding.binding);
            let doc = text(docs.and_then(|docs| docs.entry_points.get(&index)));
            let iterations = iterations.of_entry(&self.module, index)?;
            let (name, invocations) = (point.name.clone(), String::new());
            entries.push(Entry { name, doc, bindings, iterations, invocations });
        }
        if let Some((_, name)) = self.globals().find(|(handle, _)| unused.contains(handle)) {
            return Err(format!("no entry point uses `{name}`"));
        }
        if entries.is_empty() {
            return Err("no entry point; what kernels share belongs in shared/".to_owned());
        }
        Ok(entries)
    }

    /// The storage buffers and their names.
    fn globals(&self) -> impl Iterator<Item = (Handle<GlobalVariable>, &String)> {
        let variables = self.module.global_variables.iter();
        let storage = variables.filter(|(_, v)| matches!(v.space, AddressSpace::Storage { .. }));
        storage.filter_map(|(handle, v)| Some((handle, v.name.as_ref()?)))
    }

    fn binding(
        &self,
        handle: Handle<GlobalVariable>,
        name: &str,
        variants: [&Module; 3],
    ) -> Result<Binding, String> {
        let variable = &self.module.global_variables[handle];
        let elements = variants.map(|module| element(module, name));
        let storage = match elements {
            [Some(Scalar::F32), Some(Scalar::F16), Some(Scalar::F32)] => "Activation",
            [Some(Scalar::F32), Some(Scalar::F32), Some(Scalar::F16)] => "Weight",
            [Some(Scalar::F32), Some(Scalar::F32), Some(Scalar::F32)] => "F32",
            // Pairs of f32, read as one.
            [Some(Scalar::U64), Some(Scalar::U64), Some(Scalar::U64)] => "F32",
            [Some(Scalar::U32), Some(Scalar::U32), Some(Scalar::U32)] => "U32",
            _ => {
                return Err(format!(
                    "`{name}` is not an array of activation4, weight4, f32, u32, u64 or vectors \
                     of two or four of these"
                ));
            }
        };
        let written = matches!(variable.space,
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE));
        let docs = self.module.doc_comments.as_ref();
        let constant = format!("HAS_{}", name.to_uppercase());
        let optional = |o: &naga::Override| o.name.as_ref() == Some(&constant);
        let member = format!("has_{name}");
        let presence = if self.module.overrides.iter().any(|(_, o)| optional(o)) {
            Some(Presence::Constant(constant))
        } else {
            self.has_member(&member).then_some(Presence::Member(member))
        };
        Ok(Binding {
            binding: variable.binding.as_ref().map_or(0, |resource| resource.binding),
            name: name.to_owned(),
            doc: text(docs.and_then(|docs| docs.global_variables.get(&handle))),
            written,
            storage,
            presence,
        })
    }
}

/// What a run-time sized array of this name holds.
fn element(module: &Module, name: &str) -> Option<Scalar> {
    let mut variables = module.global_variables.iter();
    let (_, variable) = variables.find(|(_, variable)| variable.name.as_deref() == Some(name))?;
    let TypeInner::Array { base, size: ArraySize::Dynamic, .. } = module.types[variable.ty].inner
    else {
        return None;
    };
    match &module.types[base].inner {
        TypeInner::Struct { members, .. } => {
            let f32s = TypeInner::Scalar(Scalar::F32);
            let uniform = members.iter().all(|member| module.types[member.ty].inner == f32s);
            uniform.then_some(Scalar::F32)
        }
        TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => Some(*scalar),
        TypeInner::Vector { size: VectorSize::Bi | VectorSize::Quad, scalar } => Some(*scalar),
        _ => None,
    }
}

/// The Rust type with the layout of a member of `Params`.
fn rust_type(inner: &TypeInner) -> Option<&'static str> {
    let (lanes, scalar) = match inner {
        TypeInner::Scalar(scalar) => (1, scalar),
        TypeInner::Vector { size, scalar } => (*size as usize, scalar),
        _ => return None,
    };
    let names = match (scalar.kind, scalar.width) {
        (ScalarKind::Uint, 4) => ["u32", "[u32; 2]", "[u32; 4]"],
        (ScalarKind::Sint, 4) => ["i32", "[i32; 2]", "[i32; 4]"],
        (ScalarKind::Float, 4) => ["f32", "[f32; 2]", "[f32; 4]"],
        _ => return None,
    };
    [1, 2, 4].iter().position(|known| *known == lanes).map(|position| names[position])
}

/// `///` comments as plain text.
fn text(lines: Option<&Vec<String>>) -> String {
    let lines = lines.into_iter().flatten();
    lines.map(|line| line.trim_start_matches('/').trim()).collect::<Vec<_>>().join("\n")
}

/// The `///` comment above the declaration that begins so; naga keeps none for overrides.
fn comment_above(source: &str, declaration: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let declares = |line: &&str| {
        let rest = line.strip_prefix(declaration);
        rest.is_some_and(|rest| rest.starts_with([':', ' ', '=']))
    };
    let end = lines.iter().position(declares).unwrap_or(0);
    let comments = lines[..end].iter().rev().map_while(|line| line.strip_prefix("///"));
    let mut comments: Vec<&str> = comments.map(str::trim).collect();
    comments.reverse();
    comments.join("\n")
}
