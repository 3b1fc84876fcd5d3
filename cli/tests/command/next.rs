//! What `ddim demo` leaves: a page that needs nothing beside it, and commands that run as printed.
#![cfg(unix)]

use crate::{
    command::{self, Ran, folder, pasted},
    common::{support, tiny},
};
use image::{GrayImage, Luma};
use std::fs;

/// The command lines in a page.
fn lines(page: &str) -> Vec<String> {
    let line = |rest: &str| rest.split("</pre>").next().map(str::to_owned);
    let text =
        |line: String| line.replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    page.split("<pre>").skip(1).filter_map(line).map(text).collect()
}

#[test]
fn the_commands_after_a_demo_run_as_they_are_printed() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    let (here, elsewhere) = (at.path().join("it's here"), at.path().join("elsewhere"));
    for folder in [&elsewhere, &here.join("photos")] {
        fs::create_dir_all(folder).expect("room");
    }
    fs::write(here.join("tiny.json"), tiny::config(None).to_json()).expect("room");
    let picture = GrayImage::from_fn(32, 32, |x, y| Luma([(x * y) as u8]));
    picture.save(here.join("photos/a.png")).expect("room");
    let demo = ["demo", "--steps", "1", "--samples", "64", "--out", "my out"];
    let mut demo = command::ddim(demo);
    let ran = Ran::from(demo.current_dir(&here).output().expect("the command starts"));
    assert_eq!((ran.status, ran.error.as_str()), (Some(0), ""), "{}", ran.out);
    let page = fs::read_to_string(here.join("my out/report.html")).expect("a page");
    check_page(&page);

    let said: Vec<&str> =
        ran.out.lines().rev().take(6).filter_map(|l| l.strip_prefix("  ")).collect();
    let [own, resume, sample] = said[..] else { panic!("{}", ran.out) };
    let [page_sample, page_resume, page_own] = &lines(&page)[..] else { panic!("{page}") };
    // Fewer steps than a user would want.
    for (folder, sample) in [(&here, sample), (&elsewhere, page_sample)] {
        pasted(&format!("{sample} --steps 2"), folder);
        assert!(folder.join("more.png").exists());
    }
    pasted(&format!("{own} --batch 1 --steps 1 --config tiny.json"), &here);
    assert!(here.join("run/samples.png").exists());
    assert!(pasted(resume, &here).contains("steps 2 to 2"));
    assert_eq!(own, page_own);
    let (_, model) = page_sample.split_once("--model ").expect("a model");
    let (model, _) = model.split_once(" --count").expect("a count");
    assert!(page_resume.contains(&format!("--resume --out {model} --steps 2")), "{page_resume}");
}

/// A page without script and without anything from elsewhere, with all that its charts need.
fn check_page(page: &str) {
    for text in ["<script", "{{", "url(", "@import", "<link", "src=\"http", "src=\"/"] {
        assert!(!page.contains(text), "{text}");
    }
    // A timestep under each column, the last of which is the image.
    let (_, under) = page.split_once("<ol class=\"under\">").expect("labels");
    let labels: Vec<&str> = under.split("</ol>").next().expect("a list").split("<li>").collect();
    assert_eq!(labels.len(), 1 + 11);
    assert_eq!((labels[1], labels[11]), ("980</li>", "x<sub>0</sub></li>"));
    let timesteps =
        labels[1..11].iter().map(|label| label.trim_end_matches("</li>").parse::<u32>());
    let timesteps: Vec<u32> = timesteps.map(|number| number.expect("a timestep")).collect();
    assert!(timesteps.is_sorted_by(|a, b| a > b), "{timesteps:?}");
    // A scale of whole decades, and both forms of the chart.
    for text in ["<em style=\"left:0.0%\">0.01</em>", "<em style=\"left:100.0%\">100</em>"] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches("data:image/svg+xml;base64,").count(), 2);
    assert!(page.contains("<source media=\"(max-width: 640px)\""));
    assert!(page.contains("the mean of the last 50 steps"));
}
