//! Names of parameters in other people's files.

/// The canonical name of a parameter: diffusers' of today. Only the attention layers of its files
/// of 2022 are called otherwise.
///
/// ```
/// use ddim::weights::canonical_name;
///
/// let name = canonical_name("mid_block.attentions.0.query.weight");
/// assert_eq!(name, "mid_block.attentions.0.to_q.weight");
/// ```
pub fn canonical_name(name: &str) -> String {
    const OF_2022: [(&str, &str); 4] =
        [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];
    let Some((block, rest)) = name.split_once(".attentions.") else {
        return name.into();
    };
    let mut words: Vec<&str> = rest.split('.').collect();
    for word in &mut words {
        if let Some((_, today)) = OF_2022.iter().find(|(old, _)| old == word) {
            *word = today;
        }
    }
    format!("{block}.attentions.{}", words.join("."))
}
