//! The report for people.
use super::{
    facts::{Ceilings, Checks, Profiled},
    record::{LeftOut, Row},
    report::{Ended, Report, Timed},
};
use ddim::{gpu::Bottleneck, plan::Cost};
use std::time::Duration;

/// Kernels below this share of the bound that applies are named, with what bounds them.
const WORTH_A_LINE: f64 = 0.5;

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let mut page = heading(report);
    page += &checks("Operations against 64 bits, by every kernel family", &report.ops);
    page += &checks("Reference cases of PyTorch and diffusers", &report.cases);
    for timed in &report.timed {
        page += &stage(timed, &report.ceilings);
    }
    page += &beside(report);
    page += &below(report);
    page
}

fn heading(report: &Report) -> String {
    let Report { origin, device, ceilings, .. } = report;
    let rehearsal = if device.software { "A rehearsal: no hardware GPU.\n\n" } else { "" };
    let line =
        |ended: &Ended| format!("| {} | {} | {:.0} |\n", ended.stage, ended.status, ended.seconds);
    let stages: String = report.stages.iter().map(line).collect();
    let launch = |what: &str, seconds: [f64; 2]| {
        let [plain, checked] = seconds.map(|time| 1e6 * time);
        format!("| {what} | {plain:.2} us, with run-time checks {checked:.2} us |\n")
    };
    let matrices = match device.cooperative_matrices.join(", ") {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    };
    format!(
        "# {adapter}\n\n{rehearsal}{date}, commit {commit}, `{command}`\n\n\
         ## Stages\n\n| stage | ended | s |\n|---|---|---:|\n{stages}\n\
         ## Ceilings\n\n| what | most |\n|---|---:|\n\
         | f32 multiply-adds | {flops:.1} GFLOP/s |\n\
         | copy, read and written | {bytes:.1} GB/s |\n{dependent}{independent}\n\
         Cooperative matrices: {matrices}.\n",
        adapter = device.adapter,
        date = origin.date,
        commit = origin.commit,
        command = origin.command,
        flops = ceilings.flops_per_second / 1e9,
        bytes = ceilings.bytes_per_second / 1e9,
        dependent = launch("a tiny launch that waits for another", ceilings.dependent_launch),
        independent = launch("a tiny launch that waits for none", ceilings.independent_launch),
    )
}

fn checks(title: &str, checks: &Checks) -> String {
    let Checks { passed, failed, skipped, struck } = checks;
    let counts = format!("{passed} passed, {} failed, {skipped} skipped", failed.len());
    let mut part = format!("\n## {title}\n\n{counts}.\n");
    for line in failed {
        part += &format!("- {line}\n");
    }
    if !struck.is_empty() {
        let names: Vec<&str> = struck.iter().map(String::as_str).collect();
        part += &format!("\nStruck out: {}.\n", names.join(", "));
    }
    part
}

fn stage(timed: &Timed, ceilings: &Ceilings) -> String {
    let Timed { stage, sheet } = timed;
    let mut part = format!("\n## {stage}\n\n");
    if !sheet.rows.is_empty() {
        part += "| what | way | ms | predicted | spread | GFLOP/s | GB/s | of its bound |\n";
        part += "|---|---|---:|---:|---:|---:|---:|---:|\n";
    }
    for row in &sheet.rows {
        let Row { name, way, seconds, spread, .. } = row;
        let predicted = row.predicted.map(|time| format!("{:.4}", 1e3 * time)).unwrap_or_default();
        let rate = |amount: u64| match amount as f64 / seconds / 1e9 {
            0.0 => String::new(),
            rate => format!("{rate:.1}"),
        };
        let share = percent(share(row.cost(), *seconds, ceilings));
        let [short, long] = spread.map(|time| 1e3 * time);
        part += &format!(
            "| {name} | {way}{} | {:.4} | {predicted} | {short:.4} to {long:.4} | {} | {} | {} |\n",
            if row.chosen { " *" } else { "" },
            1e3 * seconds,
            rate(row.flops),
            rate(row.bytes),
            share,
        );
    }
    part += &left_out(&sheet.left_out, &sheet.waiting);
    sheet.facts.profiles.iter().for_each(|profiled| part += &profile(profiled, ceilings));
    part
}

fn left_out(left_out: &[LeftOut], waiting: &[String]) -> String {
    let mut part = String::new();
    if !left_out.is_empty() || !waiting.is_empty() {
        part += "\nLeft out:\n";
    }
    for LeftOut { name, reason } in left_out {
        part += &format!("- {name}: {reason}\n");
    }
    for name in waiting {
        part += &format!("- {name}: the stage ended before it\n");
    }
    part
}

fn profile(profiled: &Profiled, ceilings: &Ceilings) -> String {
    let Profiled { name, kernels, host_launch } = profiled;
    let host = 1e6 * host_launch;
    let mut part = format!("\n### {name} by kernel\n\nThe host spends {host:.2} us a launch.\n\n");
    part += "| kernel | launches | ms | GFLOP/s | GB/s | of its bound |\n|---|---:|---:|---:|---:|---:|\n";
    for &(ref kernel, calls, seconds, flops, bytes) in kernels {
        let rate = |amount: u64| amount as f64 / seconds / 1e9;
        let share = percent(share(Cost { flops, bytes }, seconds, ceilings));
        part += &format!(
            "| {kernel} | {calls} | {:.3} | {:.1} | {:.1} | {share} |\n",
            1e3 * seconds,
            rate(flops),
            rate(bytes)
        );
    }
    part
}

/// What other engines were timed on too: their time over ours.
fn beside(report: &Report) -> String {
    let rows = |torch: bool| {
        let timed = report.timed.iter().filter(move |timed| (timed.stage == "torch") == torch);
        timed.flat_map(|timed| &timed.sheet.rows)
    };
    let mut part = "\n## Beside PyTorch\n\n".to_owned();
    part += "| what | here, ms | theirs | ms | theirs / here |\n|---|---:|---|---:|---:|\n";
    for theirs in rows(true) {
        let Some(here) = rows(false).find(|row| row.chosen && row.name == theirs.name) else {
            continue;
        };
        let [mine, other] = [here.seconds, theirs.seconds].map(|time| 1e3 * time);
        let (name, way, ratio) = (&theirs.name, &theirs.way, other / mine);
        part += &format!("| {name} | {mine:.4} | {way} | {other:.4} | {ratio:.2} |\n");
    }
    part
}

/// Of the bound that applies, if that is known.
fn share(cost: Cost, seconds: f64, ceilings: &Ceilings) -> Option<f64> {
    let known = ceilings.flops_per_second > 0.0 && cost != Cost::default();
    known.then(|| ceilings.roofline().share(cost, Duration::from_secs_f64(seconds)))
}

fn percent(share: Option<f64>) -> String {
    share.map(|share| format!("{:.0}%", 100.0 * share)).unwrap_or_default()
}

/// What bounds each chosen way, and each kernel of a step, that is below half of its roofline.
fn below(report: &Report) -> String {
    let mut part = "\n## Below half of the roofline\n\nTimes in ms: arithmetic at the rate of \
                    multiply-adds, traffic at that of the copy, launches at that of tiny ones which \
                    wait for each other. The largest is the bound.\n\n"
        .to_owned();
    for Timed { stage, sheet } in &report.timed {
        // Its rows are those of `products` once more.
        if *stage != "ceilings" {
            let chosen = sheet.rows.iter().filter(|row| row.chosen).cloned();
            let kernels = sheet.facts.profiles.iter().flat_map(in_step);
            part.extend(chosen.chain(kernels).filter_map(|row| bound(&row, &report.ceilings)));
        }
    }
    part
}

/// Kernels of a step, all launches of each together.
fn in_step(profiled: &Profiled) -> impl Iterator<Item = Row> {
    profiled.kernels.iter().map(|&(ref kernel, launches, seconds, flops, bytes)| Row {
        name: profiled.name.clone(),
        way: kernel.clone(),
        seconds,
        flops,
        bytes,
        launches,
        ..Row::default()
    })
}

/// The line of what is below half of its roofline.
fn bound(row: &Row, ceilings: &Ceilings) -> Option<String> {
    let share = share(row.cost(), row.seconds, ceilings).filter(|share| *share < WORTH_A_LINE)?;
    let roofline = ceilings.roofline();
    let arithmetic = row.flops as f64 / roofline.flops_per_second;
    let traffic = row.bytes as f64 / roofline.bytes_per_second;
    let launches = row.launches as f64 * ceilings.dependent_launch[0];
    let bound = match roofline.bottleneck(row.cost()) {
        _ if launches > arithmetic.max(traffic) => "launches",
        Bottleneck::Compute => "arithmetic",
        Bottleneck::Bandwidth => "traffic",
    };
    let grid = match row.workgroups {
        0 => String::new(),
        workgroups => format!("; largest grid {workgroups} workgroups"),
    };
    Some(format!(
        "- {} ({}): {:.0}% of the roofline, bound by {bound}: takes {:.4}; arithmetic {:.4}, \
         traffic {:.4}, {} launches {:.4}{grid}\n",
        row.name,
        row.way,
        100.0 * share,
        1e3 * row.seconds,
        1e3 * arithmetic,
        1e3 * traffic,
        row.launches,
        1e3 * launches,
    ))
}
