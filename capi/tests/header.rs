//! `include/ddim.h` is what cbindgen makes of the library: `REWRITE=1 cargo test --package ddim-capi --test header`.
use std::{env, fs, path::Path};

#[test]
fn the_header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_root_or_default(root);
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/lib.rs"))
        .generate()
        .expect("the library's own source");
    let mut made = Vec::new();
    bindings.write(&mut made);
    let (made, path) = (String::from_utf8(made).expect("text"), root.join("include/ddim.h"));
    if env::var_os("REWRITE").is_some() {
        fs::write(&path, &made).expect("a folder of the repository");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == made, "REWRITE=1 makes {} anew", path.display());
    for name in ["ddim_open", "ddim_free", "ddim_image_shape", "ddim_sample", "ddim_error"] {
        assert!(
            made.contains(&format!(" {name}(")) || made.contains(&format!("*{name}(")),
            "{name}"
        );
    }
}
