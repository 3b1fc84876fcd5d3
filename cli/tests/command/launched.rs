//! Several processes of a build without MPI: they do not train one folder each on its own.

use crate::command::{Ran, ddim, fails_with, folder, names, words};

#[test]
fn several_processes_are_refused() {
    let at = folder();
    for (rank, ranks) in [("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("RANK", "WORLD_SIZE")]
    {
        let mut command = ddim(words("train --data digits --out {}/run", at.path()));
        let ran = command.env(rank, "0").env(ranks, "2").output();
        let ran = Ran::from(ran.expect("the command starts"));
        fails_with(&ran, &["started 2 processes", "--features mpi", "--ranks 2"]);
        assert_eq!(names(at.path()), [""; 0]);
    }
}
