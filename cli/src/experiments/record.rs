//! What is already done: rows of a CSV, and the settings that they were made with.
use super::row::HEADER;
pub use super::row::Row;
use crate::{failure::Failure, files};
use ddim::files::TEXT_LIMIT;
use serde_json::Value as Json;
use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

/// The rows of `results.csv`.
pub struct Record {
    path: PathBuf,
    rows: Vec<Row>,
}

impl Record {
    /// Opens the file, or begins it. A last line without an end, which a break may leave, is taken
    /// away.
    pub fn open(path: PathBuf) -> Result<Self, Failure> {
        let text = files::read_text(&path, TEXT_LIMIT)?.unwrap_or_default();
        let rows = Row::parse(&text).map_err(|text| Failure::file(&path, text))?;
        let record = Self { path, rows };
        let lines: String = record.rows.iter().map(Row::line).collect();
        files::write(&record.path, format!("{HEADER}\n{lines}"))?;
        Ok(record)
    }

    /// The row of this experiment, setting and number of steps.
    pub fn find(&self, experiment: &str, setting: &str, steps: usize) -> Option<&Row> {
        let fits = |row: &&Row| {
            row.experiment == experiment && row.setting == setting && row.steps == steps
        };
        self.rows.iter().find(fits)
    }

    /// Its number.
    pub fn value(&self, experiment: &str, setting: &str, steps: usize) -> Option<f64> {
        Some(self.find(experiment, setting, steps)?.value)
    }

    /// The rows of an experiment.
    pub fn of<'a>(&'a self, experiment: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.experiment == experiment)
    }

    /// Appends the rows of one job, at once; those that a break left there stay. Numbers that a
    /// later run would refuse are refused now.
    pub fn append(&mut self, mut rows: Vec<Row>) -> Result<(), Failure> {
        if let Some((row, text)) = rows.iter().find_map(|row| Some((row, row.check().err()?))) {
            let Row { experiment, setting, steps, .. } = row;
            let text = format!("{experiment}, {setting}, {steps} steps: {text}");
            return Err(Failure::file(&self.path, text));
        }
        rows.retain(|row| self.find(&row.experiment, &row.setting, row.steps).is_none());
        let lines: String = rows.iter().map(Row::line).collect();
        let failed = |error| Failure::file(&self.path, error);
        let mut file = OpenOptions::new().append(true).open(&self.path).map_err(failed)?;
        file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(failed)?;
        self.rows.extend(rows);
        Ok(())
    }
}

/// Binds a folder to these settings: writes them, or refuses if others are there.
pub fn bind(path: &Path, settings: &Json) -> Result<(), Failure> {
    let Some(text) = files::read_text(path, TEXT_LIMIT)? else {
        return files::write(path, format!("{settings:#}\n"));
    };
    let found: Json = serde_json::from_str(&text).map_err(|error| Failure::file(path, error))?;
    let keys = settings.as_object().into_iter().flatten();
    let different: Vec<String> = keys
        .filter(|(key, value)| found.get(key) != Some(value))
        .map(|(key, value)| {
            let was = found.get(key).unwrap_or(&Json::Null);
            format!("{key} is {value}, there it was {was}")
        })
        .collect();
    if different.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the results there were made with other settings ({}): repeat those, or choose another \
         folder for --out",
        different.join("; ")
    );
    Err(Failure::file(path, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn row(steps: usize) -> Row {
        let (experiment, setting) = ("distance".into(), "eta 0.2".into());
        Row { experiment, setting, steps, value: 0.1 + 0.2, images: 8, seconds: 1.5 }
    }

    #[test]
    fn rows_outlive_a_break_in_the_middle_of_a_line() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("results.csv");
        let mut record = Record::open(path.clone()).expect("a new file");
        record.append(vec![row(10), row(20)]).expect("room");
        let mut text = fs::read_to_string(&path).expect("the file");
        text += "distance,eta 0.2,50,0.";
        fs::write(&path, text).expect("room");
        let mut record = Record::open(path.clone()).expect("what is whole");
        assert_eq!(record.rows, [row(10), row(20)]);
        record.append(vec![row(50)]).expect("room");
        let record = Record::open(path.clone()).expect("the file");
        assert_eq!(record.find("distance", "eta 0.2", 50), Some(&row(50)));
        assert_eq!(record.find("distance", "eta 0", 50), None);
    }

    #[test]
    fn numbers_that_none_measures_are_named_with_their_line() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("results.csv");
        for (line, named) in [
            ("distance,eta 0,ten,1,2,3", "steps: expected a number, found \"ten\""),
            ("distance,eta 0,10,NaN,2,3", "value: expected a finite number from 0, found NaN"),
            ("distance,eta 0,10,-1,2,3", "value: expected a finite number from 0, found -1"),
            ("distance,eta 0,10,inf,2,3", "value: expected a finite number from 0, found inf"),
            ("distance,eta 0,10,1,2,-3", "seconds: expected a finite number from 0, found -3"),
            ("distance,eta 0,10,1,-2,3", "images: expected a number, found \"-2\""),
            ("distance,eta 0,10,1,2", "expected experiment,setting,steps"),
        ] {
            let text = format!("{HEADER}\ndistance,eta 0,5,1,2,3\n{line}\n");
            fs::write(&path, &text).expect("room");
            let error = Record::open(path.clone()).err().expect("no row").to_string();
            assert!(error.contains(&format!("results.csv: line 3: {named}")), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("the file"), text, "it stays as it is");
        }
        fs::remove_file(&path).expect("it is there");
        let mut record = Record::open(path).expect("a new file");
        let error = record.append(vec![Row { value: f64::NAN, ..row(10) }]).expect_err("NaN");
        assert!(error.to_string().contains("distance, eta 0.2, 10 steps: value"), "{error}");
    }

    #[test]
    fn a_folder_is_bound_to_its_settings() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("settings.json");
        let settings = |seed: u64| serde_json::json!({"data": "mnist", "seed": seed});
        bind(&path, &settings(1)).expect("a new folder");
        bind(&path, &settings(1)).expect("the same settings");
        let error = bind(&path, &settings(2)).expect_err("another seed").to_string();
        assert!(error.contains("seed is 2, there it was 1") && !error.contains("mnist"), "{error}");
    }
}
