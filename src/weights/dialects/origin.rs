//! Where parameters lie: in a U-Net by their names, in a file by a tensor's name and rows.
use crate::ops::TablePart;

/// Where a parameter lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The tensor.
    pub tensor: String,
    /// Which of its rows.
    pub rows: Rows,
    /// Whether a linear layer's weight lies `[in, out]` there, as it does here.
    pub turned: bool,
}

impl Origin {
    /// All of a tensor.
    pub fn whole(tensor: String) -> Self {
        Self { tensor, rows: Rows::All, turned: false }
    }
}

/// Rows of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All.
    All,
    /// Of a tensor with the rows of q, k and v those of one.
    Third(Third),
    /// A part of a table.
    Part(TablePart),
}

impl Rows {
    /// Rows of the tensor of which these are `rows`.
    pub fn of(self, rows: usize) -> usize {
        match self {
            Self::All => rows,
            Self::Third(_) => 3 * rows,
            Self::Part(part) => part.rows,
        }
    }

    /// The row of the tensor that is row `row` of these `rows`.
    pub fn row(self, row: usize, rows: usize) -> usize {
        match self {
            Self::All => row,
            Self::Third(third) => third.row(row, rows),
            Self::Part(part) => part.first + row,
        }
    }
}

/// A third of the rows of a tensor: q, k or v, for each head together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Third {
    /// 0, 1, 2: q, k, v.
    pub part: usize,
    /// Groups of rows that hold all three: 1 where all rows of q come first.
    pub heads: usize,
}

impl Third {
    /// The row of the tensor that is row `row` of the `rows` of this third.
    pub fn row(self, row: usize, rows: usize) -> usize {
        let height = rows / self.heads.max(1);
        (3 * (row / height) + self.part) * height + row % height
    }
}

/// The first of the table's names that `rest` begins with is replaced.
pub(super) fn renamed(rest: &str, table: &[(&str, &str)]) -> String {
    for (from, to) in table {
        match rest.strip_prefix(from) {
            Some(after) if after.is_empty() || after.starts_with('.') => {
                return format!("{to}{after}");
            }
            _ => {}
        }
    }
    rest.to_owned()
}

/// A parameter's place in a U-Net, by its name in diffusers.
pub(super) enum Position<'a> {
    /// `down_blocks.LEVEL.KIND.INDEX.REST`.
    Down { level: usize, kind: &'a str, index: usize, rest: &'a str },
    /// `mid_block.KIND.INDEX.REST`.
    Middle { kind: &'a str, index: usize, rest: &'a str },
    /// `up_blocks.LEVEL.KIND.INDEX.REST`, the coarsest level first.
    Up { level: usize, kind: &'a str, index: usize, rest: &'a str },
    /// What is in no block.
    Outside(&'a str),
}

impl<'a> Position<'a> {
    pub fn of(name: &'a str) -> Self {
        Self::in_block(name).unwrap_or(Self::Outside(name))
    }

    fn in_block(name: &'a str) -> Option<Self> {
        let (block, rest) = name.split_once('.')?;
        if block == "mid_block" {
            let (kind, rest) = rest.split_once('.')?;
            let (index, rest) = rest.split_once('.')?;
            return Some(Self::Middle { kind, index: index.parse().ok()?, rest });
        }
        let (level, rest) = rest.split_once('.')?;
        let (kind, rest) = rest.split_once('.')?;
        let (index, rest) = rest.split_once('.')?;
        let (level, index) = (level.parse().ok()?, index.parse().ok()?);
        match block {
            "down_blocks" => Some(Self::Down { level, kind, index, rest }),
            "up_blocks" => Some(Self::Up { level, kind, index, rest }),
            _ => None,
        }
    }
}
