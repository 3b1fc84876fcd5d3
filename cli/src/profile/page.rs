//! A profile as one page that needs nothing beside it.
use super::{
    charts,
    results::{Compared, Group, Results, Times},
};
use crate::{
    failure::Failure,
    report::{Chart, escape, fill, row},
};

/// The page with holes.
const TEMPLATE: &str = include_str!("profile.html");

/// How the page begins.
pub const SIGN: &str = "<!DOCTYPE html>\n<!-- ddim profile -->";

/// The page, with a comparison if there is an earlier profile.
pub fn page(of: &Results, compared: Option<&[Compared]>) -> Result<String, Failure> {
    let (roofline, memory) = (
        Chart::new(|form| charts::roofline(of, form))?,
        Chart::new(|form| charts::memory(of, form))?,
    );
    let far: String = of.far_from_ceiling().map(far).collect();
    let far = match far.is_empty() {
        true => "<p>None.</p>".into(),
        false => format!("<ul>{far}</ul>"),
    };
    let compared = compared.map(comparison).unwrap_or_default();
    let Times { median, fastest, slowest } = of.milliseconds;
    Ok(fill(
        TEMPLATE,
        &[
            ("step", escape(&of.step)),
            ("device", escape(&of.device)),
            ("median", format!("{median:.2} ms")),
            ("spread", format!("{fastest:.2} to {slowest:.2} ms in {} runs", of.runs)),
            ("peak", format!("{:.1} GFLOP/s", of.flops_per_second / 1e9)),
            ("bandwidth", format!("{:.1} GB/s", of.bytes_per_second / 1e9)),
            ("roofline", roofline.picture("Kernels under the ceilings of the device")),
            ("far", far),
            ("flame", charts::flame(of)),
            ("memory", memory.picture("Memory of the tensors by launch")),
            ("kernels", table(&of.kernels)),
            ("compared", compared),
        ],
    ))
}

fn far(of: &Group) -> String {
    let share = 100.0 * of.share_of_ceiling.unwrap_or_default();
    let bound = of.bound_by.as_deref().unwrap_or_default();
    let (name, time) = (escape(&of.name), of.milliseconds.median);
    format!("<li><code>{name}</code>: {time:.3} ms, {share:.1}% of the ceiling of {bound}</li>")
}

fn spread(of: Times) -> [String; 2] {
    [format!("{:.3}", of.median), format!("{:.3} to {:.3}", of.fastest, of.slowest)]
}

fn table(groups: &[Group]) -> String {
    let head = "<tr><th>kernel</th><th>calls</th><th>ms</th><th>runs</th><th>GFLOP/s</th><th>GB/s</th>\
                <th>of the ceiling</th></tr>";
    let line = |of: &Group| {
        let rate = |amount: u64| match amount {
            0 => "-".to_owned(),
            amount => format!("{:.1}", amount as f64 / of.milliseconds.median.max(1e-9) / 1e6),
        };
        let bound = of.bound_by.as_deref().unwrap_or_default();
        let share = of.share_of_ceiling.map(|share| format!("{:.1}% of {bound}", 100.0 * share));
        let [time, runs] = spread(of.milliseconds);
        let rest = [time, runs, rate(of.flops), rate(of.bytes), share.unwrap_or("-".into())];
        row(&of.name, [of.calls.to_string()].into_iter().chain(rest))
    };
    format!("{head}{}", groups.iter().map(line).collect::<String>())
}

fn comparison(compared: &[Compared]) -> String {
    let line = |of: &Compared| {
        let ([before, runs_before], [now, runs_now]) = (spread(of.before), spread(of.now));
        let ratio = format!("{:.2}", of.ratio());
        row(&of.name, [ratio, before, runs_before, now, runs_now, of.verdict().into()])
    };
    let lines: String = compared.iter().map(line).collect();
    format!(
        "<section><h2>Against the earlier profile</h2><p>Where the runs of the two overlap, the difference says \
         nothing.</p><div class=\"scroll\"><table class=\"numbers\"><tr><th></th><th>ratio</th><th>before, \
         ms</th><th>runs</th><th>now, ms</th><th>runs</th><th></th></tr>{lines}</table></div></section>"
    )
}
