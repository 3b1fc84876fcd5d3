//! The command line on devices: what they are, what would run on them, whether they compute right.

use crate::{
    command::{self, ddim, fails, folder, run, succeeds},
    common::{
        copied::{self, Named, change_last, change_manifest, copies},
        support, tiny,
    },
};

const SILU: Named = ("ops", "silu");
const CASES: [Named; 4] = [("ldm", "ldm_vae_b2"), SILU, ("ops", "mse"), ("schedules", "timesteps")];

/// A folder of the cases, the first of a kind that nobody knows.
fn cases() -> tempfile::TempDir {
    let cases = copies(&CASES);
    change_manifest(cases.path(), CASES[0], |manifest| manifest["kind"] = "of tomorrow".into());
    cases
}

/// The lines on cases, and the last one.
fn verdict(out: &str) -> (Vec<&str>, &str) {
    let mut lines: Vec<&str> = out.lines().collect();
    let last = lines.pop().expect("a last line");
    // The first describes the device.
    lines.remove(0);
    // A slow machine says how far it is.
    lines.retain(|line| !line.starts_with("checking "));
    (lines, last)
}

#[test]
fn verify_says_how_each_case_ended() {
    if support::gpu().is_none() {
        return;
    }
    let cases = cases();
    let out = succeeds("verify --verbose --cases {}", cases.path());
    let (lines, last) = verdict(&out);
    let expected = [
        "skipped ldm/ldm_vae_b2: kind of tomorrow",
        "passed ops/silu",
        "passed ops/mse",
        "passed schedules/timesteps",
    ];
    assert_eq!(lines, expected);
    assert_eq!(last, "3 passed, 0 failed, 1 skipped");

    // Without, what did not fail has no line.
    let out = succeeds("verify --cases {}", cases.path());
    assert_eq!(verdict(&out), (vec![], last));

    let out = succeeds("verify -v --cases {} --group schedules", cases.path());
    assert_eq!(
        verdict(&out),
        (vec!["passed schedules/timesteps"], "1 passed, 0 failed, 0 skipped")
    );
    let out = succeeds("verify --cases {} --group schedules,ops", cases.path());
    assert_eq!(verdict(&out).1, "3 passed, 0 failed, 0 skipped");
    fails("verify --cases {} --group opps", cases.path(), &["opps", "ops, schedules"]);
}

#[test]
fn verify_fails_if_a_case_does() {
    if support::gpu().is_none() {
        return;
    }
    let cases = cases();
    change_last(cases.path(), SILU, "y", |number| number + 3.1e-4);
    let ran = run("verify --cases {}", cases.path());
    command::fails_with(&ran, &["1 of the checks failed"]);
    let (lines, last) = verdict(&ran.out);
    assert_eq!(last, "2 passed, 1 failed, 1 skipped");
    // As in `failed ops/silu: y 3.1e-4 > 6.9e-6`.
    let [line] = lines[..] else { panic!("more than the one that failed: {lines:?}") };
    let said = line.strip_prefix("failed ops/silu: y ").expect(line);
    let (error, allowed) = said.split_once(" > ").expect(said);
    assert_eq!(error, "3.1e-4");
    let atol = copied::tolerance(cases.path(), SILU, "y");
    assert_eq!(allowed, format!("{atol:.1e}"));
    // Other groups are none of its business.
    succeeds("verify --cases {} --group schedules", cases.path());
}

#[test]
fn verify_draws_cases_that_can_be_run_again() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    let passed = |out: &str| {
        let count = verdict(out).1.strip_suffix(" passed, 0 failed, 0 skipped").map(str::parse);
        count.expect("none failed").unwrap_or(0)
    };
    assert!(passed(&succeeds("verify --random 0.05 --seed 3", at.path())) >= 1);
    // A case of one op, and a graph of several.
    for number in [4, 7] {
        let again = || succeeds(&format!("verify --seed 3 --number {number}"), at.path());
        let out = again();
        assert_eq!(passed(&out), 1);
        let line = format!("passed --seed 3 --number {number}: ");
        assert!(verdict(&out).0[0].starts_with(&line), "{out}");
        assert_eq!(out, again());
    }
    for wrong in ["--random 0", "--random -1", "--random 1 --number 4", "--random 1 --cases ."] {
        assert_ne!(run(&format!("verify {wrong}"), at.path()).status, Some(0), "{wrong}");
    }
}

#[test]
fn devices_are_listed_with_what_matters_here() {
    let Some(gpu) = support::gpu() else { return };
    let at = folder();
    let out = succeeds("devices", at.path());
    assert!(out.contains(&format!("* {}\n", gpu.info().name)), "{out}");
    for row in [
        "kind",
        "driver",
        "subgroup kernels",
        "f16 storage",
        "64-bit integers",
        "matrix units",
        "timestamps",
        "largest binding",
        "largest buffer",
        "workgroup memory",
    ] {
        assert!(out.lines().any(|line| line.starts_with(&format!("    {row} "))), "{row}: {out}");
    }
    let binding = format!("{} MiB", gpu.target().max_binding >> 20);
    let row = out.lines().find(|line| line.contains("largest binding")).expect("the row");
    assert!(row.ends_with(&binding), "{row}");
    // Part of the name in any case will do.
    let name = gpu.info().name.to_uppercase();
    let words = ["devices", "--adapter", &name[..4]];
    let output = ddim(words).output().expect("the command starts");
    assert!(command::Ran::from(output).out.contains(&format!("* {}\n", gpu.info().name)));
}

#[test]
fn profile_tells_where_the_time_goes() {
    let at = folder();
    tiny::pipeline(&at.path().join("model"));
    let out = succeeds("profile {}/model --batch 2 --runs 2 --trace {}/trace.json", at.path());
    for part in ["ceilings: ", "host: ", "part of the model", "kernel", "mid_block"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let tables: Vec<&str> = out.split("calls ").skip(1).collect();
    assert_eq!(tables.len(), 2, "{out}");
    for table in tables {
        let rows = table.lines().skip(1).take_while(|row| row.contains('%'));
        let mut sum = 0.0;
        for row in rows {
            let columns: Vec<&str> = row.split_whitespace().collect();
            // Launches, median, fastest, slowest, share, rates, bound and a name.
            let [_, median, fastest, slowest, share, flops, bytes, _, name, ..] = columns[..]
            else {
                panic!("a column is empty in {row}")
            };
            let number = |text: &str| text.trim_end_matches('%').parse::<f64>().expect(row);
            sum += number(share);
            let in_order = number(fastest) <= number(median) && number(median) <= number(slowest);
            assert!(in_order, "{row}");
            assert!(flops == "-" || number(flops) >= 0.0, "{row}");
            // Every kernel moves bytes.
            assert!(name.starts_with("(step)") || number(bytes) >= 0.0, "{row}");
        }
        // Each row is rounded to a tenth of a percent.
        assert!((95.0..105.0).contains(&sum), "{sum}% in {table}");
    }
    let trace = std::fs::read_to_string(at.path().join("trace.json")).expect("the trace");
    let trace: serde_json::Value = serde_json::from_str(&trace).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let launches = events.iter().filter(|event| event["tid"] == 1).count();
    let counted = out.lines().find_map(|line| line.strip_prefix("host: ")).expect("a line");
    let counted = counted.split_whitespace().nth(5).expect("a count").parse::<usize>();
    // Two runs before the profile and two after it were counted.
    assert_eq!(4 * launches, counted.expect("a number"), "{out}");
    assert!(events.iter().all(|event| event["ph"] == "X" && event["dur"].as_f64() >= Some(0.0)));
}

#[test]
fn a_profile_is_a_page_and_is_compared_with_an_earlier_one() {
    let at = folder();
    tiny::pipeline(&at.path().join("model"));
    let profile = "profile {}/model --batch 1 --runs 2";
    succeeds(&format!("{profile} --json {{}}/before.json"), at.path());
    let text = std::fs::read_to_string(at.path().join("before.json")).expect("the numbers");
    let numbers: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let list = |name: &str| numbers[name].as_array().expect(name);
    let calls = |of: &serde_json::Value| of["calls"].as_u64().expect("a count");
    let launches: u64 = list("kernels").iter().map(calls).sum();
    assert_eq!(list("memory").len() as u64, launches);
    assert_eq!(list("scopes").iter().map(calls).sum::<u64>(), launches);
    assert!(list("memory").iter().all(|bytes| bytes.as_u64() > Some(0)));
    let compare = format!("{profile} --against {{}}/before.json --html {{}}/profile.html");
    let out = succeeds(&compare, at.path());
    assert!(out.contains("against ") && out.contains("  a step: "), "{out}");
    let page = std::fs::read_to_string(at.path().join("profile.html")).expect("the page");
    for part in ["Roofline", "mid_block", "\"compared\":[{", "within the spread"] {
        assert!(page.contains(part), "{part}");
    }
    for foreign in ["{{", "src=", "href=", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    std::fs::write(at.path().join("before.json"), "{}").expect("room");
    fails(&compare, at.path(), &["before.json", "software"]);
}

#[test]
fn plan_prints_what_would_run() {
    let at = folder();
    tiny::pipeline(&at.path().join("model"));
    let plan = |arguments: &str| succeeds(&format!("plan {arguments} --batch 2"), at.path());
    let numbers = [
        "dispatches",
        "run once",
        "sections",
        "pipelines",
        "families",
        "GFLOP",
        "planned peak",
        "most live at once",
        "unplanned",
        "plan hash",
    ];
    let value = |out: &str, number: &str| {
        let row = out.lines().find_map(|line| line.strip_prefix(number)).expect(number);
        row.split_whitespace().next().expect("a value").to_owned()
    };
    let summary = plan("{}/model --summary");
    assert_eq!(summary.lines().count(), 2 + numbers.len(), "{summary}");
    assert!(summary.starts_with("sampling step, 2 images of 8x8, "), "{summary}");

    let whole = plan("{}/model");
    assert!(!summary.contains("Graph") && whole.contains("\nGraph\n"), "{summary}");
    assert!(whole.contains(" = conv2d{stride=1 padding=1,1,1,1} "), "{whole}");
    assert!(whole.contains("// down_blocks.1/resnets.0/conv1"), "{whole}");
    let (_, dispatches) = whole.split_once("\nDispatches\n").expect("dispatches");
    let listed = dispatches.lines().count() - numbers.len();
    let count = |number: &str| value(&whole, number).parse::<usize>().expect("a count");
    assert_eq!(count("dispatches") + count("run once"), listed);
    for number in numbers {
        assert_eq!(value(&summary, number), value(&whole, number));
    }

    let training = plan("{}/model --summary --train");
    assert!(training.starts_with("training step, 2 images of 8x8, "), "{training}");
    let float = |out: &str, number: &str| value(out, number).parse::<f64>().expect("a number");
    assert!(float(&training, "GFLOP") > 2.0 * float(&summary, "GFLOP"), "{training}");
    assert!(float(&training, "planned peak") < float(&training, "unplanned"), "{training}");
    assert!(float(&training, "planned peak") >= float(&training, "most live at once"));
}
