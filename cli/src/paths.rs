//! Paths in JSON: text where they are UTF-8, else what serde makes of them. None is lost or changed.
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    /// As version 0.1.0 wrote the bytes of a path.
    #[cfg(unix)]
    Bytes(Vec<u8>),
    Units(OsString),
}

/// For `#[serde(with = "paths")]`.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let stored = match path.to_str() {
        Some(text) => Stored::Text(text.to_owned()),
        None => Stored::Units(path.into()),
    };
    stored.serialize(serializer)
}

/// For `#[serde(with = "paths")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Text(text) => text.into(),
        #[cfg(unix)]
        Stored::Bytes(bytes) => {
            let text: OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
            text.into()
        }
        Stored::Units(text) => text.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "super")] PathBuf);

    #[test]
    fn a_path_comes_back_as_it_was() {
        let text = Holder("data/ä".into());
        assert_eq!(serde_json::to_string(&text).expect("JSON"), "\"data/ä\"");
        #[cfg(unix)]
        let odd: OsString = std::os::unix::ffi::OsStringExt::from_vec(b"data/\xff\xfe".to_vec());
        #[cfg(windows)]
        let odd: OsString = std::os::windows::ffi::OsStringExt::from_wide(&[100, 0xd800, 100]);
        assert!(odd.to_str().is_none());
        #[cfg(unix)]
        {
            let Holder(old) = serde_json::from_str("[100,97,116,97,47,255,254]").expect("bytes");
            assert_eq!(old, Path::new(&odd));
        }
        for path in [PathBuf::from("data/ä"), odd.into()] {
            let json = serde_json::to_string(&Holder(path.clone())).expect("JSON");
            let Holder(back) = serde_json::from_str(&json).expect("the same");
            assert_eq!(back, path);
        }
    }
}
