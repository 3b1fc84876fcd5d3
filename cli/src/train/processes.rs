//! The other ranks of a run: processes that a launcher of MPI started, on this machine and others.
use super::{follow::follow, launch::Launch, ranks::OtherRanks, run::Run};
use crate::{
    cli::{self, Device},
    console::{self, say},
    devices::describe,
    failure::Failure,
    progress,
};
use crc32c::{crc32c, crc32c_append};
use ddim::training::Collective;
use ddim_mpi::MpiRank;
use std::time::Duration;

/// This process among them.
pub struct Processes {
    launch: Launch,
    rank: MpiRank,
}

impl Processes {
    /// Starts MPI among the processes of a launcher, of which the first alone has something to say.
    pub fn start(launch: &Launch, arguments: &cli::Train) -> Result<Self, Failure> {
        let Launch { launcher, rank, ranks, .. } = *launch;
        if rank > 0 {
            console::be_quiet();
            log::set_max_level(log::LevelFilter::Error);
        }
        if let Some(asked) = arguments.ranks.filter(|&asked| asked != ranks) {
            launch.let_the_first_print();
            let text = format!("--ranks {asked}: {launcher} started {ranks} processes");
            return Err(Failure::Usage(text));
        }
        let started = MpiRank::start(Duration::from_secs(arguments.timeout));
        let own = started.map_err(|error| Failure::Usage(error.to_string()))?;
        let processes = Self { launch: *launch, rank: own };
        let own = &processes.rank;
        if (own.rank(), own.ranks()) != (rank, ranks) {
            let found = format!("rank {} of {}", own.rank(), own.ranks());
            let text = format!(
                "{launcher} started rank {rank} of {ranks} processes, and MPI knows it as {found}: start them by the \
                 mpirun of the MPI that this program was built with, or by srun --mpi=pmix",
            );
            processes.end(Err(Failure::Usage(text)))?;
        }
        Ok(processes)
    }

    /// Trains beside the first rank.
    pub fn follow(&self, run: &mut Run) -> Result<(), Failure> {
        self.introduce(run)?;
        run.trainer.join(Box::new(self.rank.clone()))?;
        let (images, loading, steps) = (run.images()?, run.loading(), u64::from(run.notes.steps));
        match follow(&mut run.trainer, &images, loading, steps) {
            // The first rank has ended the run.
            Err(_) if self.rank.is_over() => {}
            ended => ended?,
        }
        Ok(self.rank.finish()?)
    }

    /// Ends all ranks if this one failed, with its message first.
    pub fn end(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        if let Err(failure) = &result
            && !self.rank.is_finished()
        {
            self.launch.let_the_first_print();
            progress::clear();
            let line = failure.line();
            match self.launch.rank {
                0 => console::complain(format_args!("error: {line}")),
                rank => console::complain(format_args!("error: rank {rank}: {line}")),
            }
            self.rank.abort();
        }
        result
    }

    /// Tells the others who this is and where it begins, and returns what they told.
    fn introduce(&self, run: &mut Run) -> Result<Vec<String>, Failure> {
        let device = describe(run.trainer.gpu());
        let own = format!("{}\n{}: {device}", beginning(run)?, self.rank.host());
        Ok(self.rank.all_gather(&own)?)
    }
}

impl OtherRanks for Processes {
    fn adapter(&self) -> usize {
        self.launch.local.unwrap_or_else(|| self.rank.local_rank())
    }

    fn folder_is_ready(&self) -> Result<(), Failure> {
        self.rank.all_gather("")?;
        Ok(())
    }

    fn beside<T>(
        &self,
        _: &Device,
        run: &mut Run,
        train: impl FnOnce(&mut Run) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let told = self.introduce(run)?;
        let told: Vec<_> = told.iter().filter_map(|text| text.split_once('\n')).collect();
        for (rank, (found, device)) in told.iter().enumerate() {
            say!("rank {rank}  {device}");
            let (expected, _) = told[0];
            if *found != expected {
                return Err(Failure::Usage(format!(
                    "rank {rank} begins with {found}, rank 0 with {expected}: all ranks take the same arguments, \
                     and read the same --data and, with --resume, the same --out",
                )));
            }
        }
        run.trainer.join(Box::new(self.rank.clone()))?;
        let done = train(run)?;
        // From here on this process is on its own.
        run.trainer.leave("the run has ended");
        self.rank.finish()?;
        Ok(done)
    }
}

/// What all ranks begin with: a rank with other weights would lead all of them astray.
fn beginning(run: &mut Run) -> Result<String, Failure> {
    let weights = run.trainer.raw_weights()?;
    let numbers = weights.iter().flat_map(|(_, parameter)| &parameter.data);
    let weights = numbers.fold(0, |sum, number| crc32c_append(sum, &number.to_le_bytes()));
    let options = crc32c(format!("{:?}", run.trainer.options()).as_bytes());
    let (steps, [height, width, channels]) = (run.trainer.steps(), run.data.shape());
    let images = format!("{} images of {height}x{width}x{channels}", run.data.len());
    Ok(format!("step {steps}, {images}, weights {weights:08x}, options {options:08x}"))
}
