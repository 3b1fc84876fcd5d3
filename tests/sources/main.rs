//! The sources and the pages that they write: floors, sizes, public items, shaders in every language. No GPU.

mod circles;
mod floors;
mod imports;
mod op_pages;
mod public_items;
mod size;
mod tour;
mod variants;
