//! What the program answers to arguments that it does not know.
use std::process::Command;

#[test]
fn an_unknown_chip_is_answered_by_the_list_of_chips() {
    for arguments in [&[][..], &["check"], &["check", "voodoo-2"], &["write", "apple-m1"]] {
        let ran = Command::new(env!("CARGO_BIN_EXE_compilers")).args(arguments).output();
        let ran = ran.expect("the program starts");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success(), "{arguments:?}");
        assert!(said.contains("nvidia-ada, amd-rdna2"), "{arguments:?}: {said}");
    }
}
