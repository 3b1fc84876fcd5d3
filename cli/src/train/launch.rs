//! What a launcher of several processes tells each of them by its environment.
use std::{thread, time::Duration};

/// Time in which the first process prints before others do.
const FIRST: Duration = Duration::from_secs(1);

/// The variables of a launcher: a process's number, how many there are, and its number on its machine.
struct Variables {
    launcher: &'static str,
    rank: &'static str,
    ranks: &'static str,
    local: &'static str,
}

/// The first that is there counts: OpenMPI's mpirun in a job of Slurm is itself started by Slurm, and hands its variables on.
const LAUNCHERS: [Variables; 4] = [
    Variables {
        launcher: "mpirun",
        rank: "OMPI_COMM_WORLD_RANK",
        ranks: "OMPI_COMM_WORLD_SIZE",
        local: "OMPI_COMM_WORLD_LOCAL_RANK",
    },
    Variables {
        launcher: "mpiexec",
        rank: "PMI_RANK",
        ranks: "PMI_SIZE",
        local: "MPI_LOCALRANKID",
    },
    // SLURM_NTASKS is that of the job in its script too, which is one process.
    Variables {
        launcher: "srun",
        rank: "SLURM_PROCID",
        ranks: "SLURM_STEP_NUM_TASKS",
        local: "SLURM_LOCALID",
    },
    Variables { launcher: "torchrun", rank: "RANK", ranks: "WORLD_SIZE", local: "LOCAL_RANK" },
];

/// A process among several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    pub launcher: &'static str,
    pub rank: usize,
    pub ranks: usize,
    /// Its number on its machine, if the launcher says it.
    #[cfg_attr(
        not(feature = "mpi"),
        allow(dead_code, reason = "a rank's adapter follows from it")
    )]
    pub local: Option<usize>,
}

impl Launch {
    /// What an environment says, if it is that of one of several processes.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name| variable(name)?.trim().parse::<usize>().ok();
        let found = LAUNCHERS.iter().find_map(|of| {
            let (rank, ranks) = (number(of.rank)?, number(of.ranks)?);
            Some(Self { launcher: of.launcher, rank, ranks, local: number(of.local) })
        });
        found.filter(|launch| launch.ranks > 1)
    }

    /// Delays all but the first process, so that it prints first: most errors happen in all of them, and its end ends the others.
    pub fn let_the_first_print(&self) {
        if self.rank > 0 {
            thread::sleep(FIRST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(environment: &[(&str, &str)]) -> Option<(&'static str, usize, usize, Option<usize>)> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let Launch { launcher, rank, ranks, local } = Launch::of(variable)?;
        Some((launcher, rank, ranks, local))
    }

    #[test]
    fn launchers_are_known_by_their_variables() {
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
        ];
        let slurm = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_LOCALID", "0")];
        let torchrun = [("RANK", "7"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "7")];
        assert_eq!(launch(&open_mpi), Some(("mpirun", 3, 4, Some(1))));
        assert_eq!(launch(&slurm), Some(("srun", 1, 2, Some(0))));
        assert_eq!(launch(&torchrun), Some(("torchrun", 7, 8, Some(7))));
        assert_eq!(launch(&[("PMI_RANK", "0"), ("PMI_SIZE", "2")]), Some(("mpiexec", 0, 2, None)));
        // The one that started this process, not the one that started that.
        assert_eq!(launch(&[slurm, open_mpi].concat()), Some(("mpirun", 3, 4, Some(1))));
    }

    #[test]
    fn a_process_alone_is_none_of_several() {
        for alone in [
            &[][..],
            &[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")],
            // The script of a job, before srun.
            &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8"), ("SLURM_LOCALID", "0")],
            &[("WORLD_SIZE", "8")],
            &[("RANK", "first"), ("WORLD_SIZE", "8")],
        ] {
            assert_eq!(launch(alone), None, "{alone:?}");
        }
    }
}
