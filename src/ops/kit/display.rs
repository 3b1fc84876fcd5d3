//! How plans, messages and titles of cases print an op.

/// Prints an op as `name{field=value field=value}`, as its name alone if it has no fields, or as a
/// format of its fields says.
macro_rules! display {
    ($op:ident { $($field:ident),+ }: $format:literal) => {
        impl std::fmt::Display for $op {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let Self { $($field,)+ .. } = self;
                write!(f, $format)
            }
        }
    };
    ($name:literal, $op:ident) => {
        impl std::fmt::Display for $op {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($name)
            }
        }
    };
    ($name:literal, $op:ident { $first:ident $(, $field:ident)* }) => {
        impl std::fmt::Display for $op {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let Self { $first, $($field,)* .. } = self;
                write!(f, concat!($name, "{{", stringify!($first), "={}"), $first)?;
                $(write!(f, concat!(" ", stringify!($field), "={}"), $field)?;)*
                f.write_str("}")
            }
        }
    };
}
pub(in crate::ops) use display;
