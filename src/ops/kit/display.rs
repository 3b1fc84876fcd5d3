//! How plans, messages and titles of cases print an op.

/// Prints an op as `name{field=value field=value}`, or as its name alone if it has no fields.
macro_rules! display {
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
