//! Names of earlier versions stay: each parses to what the name of today does.
use super::Cli;
use clap::ArgMatches;

#[test]
fn arguments_are_consistent() {
    Cli::parser().debug_assert();
}

/// The flags of version 0.1.0 by command.
const FLAGS: [(&str, &str); 13] = [
    ("demo", "steps out overwrite seed adapter backend"),
    (
        "train",
        "data out overwrite steps resume exact config size max-pixels batch lr warmup decay-steps \
         schedule prediction loss min-snr-gamma timesteps conditional label-drop ema clip seed flip \
         valid save-every",
    ),
    (
        "sample",
        "model allow-non-finite out sampler steps eta spacing timesteps no-clip respacing class \
         guidance-scale guidance-weight guidance-rescale count seed batch latents strip animation \
         overwrite max-pixels size scale",
    ),
    (
        "interpolate",
        "model allow-non-finite out overwrite max-pixels sampler steps eta spacing timesteps no-clip \
         respacing rows columns seed",
    ),
    ("encode", "model allow-non-finite data count steps spacing out overwrite reached"),
    ("reconstruct", "model allow-non-finite data count steps spacing out overwrite max-pixels"),
    ("experiments", "data out overwrite model train-steps steps seed"),
    ("evaluate", "model allow-non-finite data split images timesteps batch seed out overwrite"),
    ("devices", "adapter backend"),
    ("plan", "config batch train size summary"),
    ("profile", "config batch train size runs trace overwrite"),
    ("measure", "out overwrite rehearse"),
    ("verify", "verbose cases group random seed number"),
];

#[test]
fn every_flag_of_earlier_versions_is_known() {
    let mut all = Cli::parser();
    all.build();
    for (name, flags) in FLAGS {
        let command = all.find_subcommand(name).expect("a command of today");
        for flag in flags.split_whitespace() {
            let known = command.get_arguments().any(|of| {
                let aliases = of.get_all_aliases().unwrap_or_default();
                of.get_long() == Some(flag) || aliases.contains(&flag)
            });
            assert!(known, "{name} --{flag}");
        }
    }
}

#[test]
fn old_names_parse_to_the_same() {
    let parse = |line: &str| -> ArgMatches {
        let words = ["ddim"].into_iter().chain(line.split_whitespace());
        Cli::parser().try_get_matches_from(words).expect(line)
    };
    for (command, old, new) in [
        ("train --data digits --out o", "--timesteps antithetic", "--timestep-sampling antithetic"),
        ("train --data digits --out o", "--clip 0.5", "--max-grad-norm 0.5"),
        ("sample --model m --out o", "--timesteps 9,3", "--timestep-list 9,3"),
        ("interpolate --model m --out o", "--timesteps 9,3", "--timestep-list 9,3"),
        ("sample --model m --out o", "--no-clip", "--no-clip-sample"),
        ("interpolate --model m --out o", "--no-clip", "--no-clip-sample"),
        ("evaluate --model m --data digits", "--timesteps 7", "--timestep-count 7"),
        ("experiments --data d --out o", "--steps 7", "--max-steps 7"),
    ] {
        let [old, new] = [old, new].map(|flag| parse(&format!("{command} {flag}")));
        assert_eq!(old, new);
        assert_ne!(new, parse(command));
    }
}
