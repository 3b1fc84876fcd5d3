//! Paths in JSON: text where they are UTF-8, else their units as numbers. None is lost or changed.
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

#[cfg(unix)]
mod units {
    use std::{
        ffi::{OsStr, OsString},
        os::unix::ffi::{OsStrExt, OsStringExt},
    };

    pub type Unit = u8;

    pub fn of(text: &OsStr) -> Vec<Unit> {
        text.as_bytes().to_vec()
    }

    pub fn text(units: Vec<Unit>) -> OsString {
        OsString::from_vec(units)
    }
}

#[cfg(windows)]
mod units {
    use std::{
        ffi::{OsStr, OsString},
        os::windows::ffi::{OsStrExt, OsStringExt},
    };

    pub type Unit = u16;

    pub fn of(text: &OsStr) -> Vec<Unit> {
        text.encode_wide().collect()
    }

    pub fn text(units: Vec<Unit>) -> OsString {
        OsString::from_wide(&units)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    Units(Vec<units::Unit>),
}

/// For `#[serde(with = "paths")]`.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let stored = match path.to_str() {
        Some(text) => Stored::Text(text.to_owned()),
        None => Stored::Units(units::of(path.as_os_str())),
    };
    stored.serialize(serializer)
}

/// For `#[serde(with = "paths")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let text: OsString = match Stored::deserialize(deserializer)? {
        Stored::Text(text) => text.into(),
        Stored::Units(units) => units::text(units),
    };
    Ok(text.into())
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
        let odd = units::text(b"data/\xff\xfe".to_vec());
        #[cfg(windows)]
        let odd = units::text(vec![100, 0xd800, 100]);
        assert!(odd.to_str().is_none());
        for path in [PathBuf::from("data/ä"), odd.into()] {
            let json = serde_json::to_string(&Holder(path.clone())).expect("JSON");
            let Holder(back) = serde_json::from_str(&json).expect("the same");
            assert_eq!(back, path);
        }
    }
}
