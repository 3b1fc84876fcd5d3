//! The thread that calls MPI.
use crate::meeting::{End, Meeting, Status};
use mpi::{
    Threading, environment::processor_name, initialize_with_threading, traits::Communicator,
};
use std::sync::mpsc::{Receiver, Sender};

/// Where an answer goes.
pub type Reply<T> = Sender<Result<T, End>>;

/// What the thread is asked for.
pub enum Task {
    Sum(Vec<f32>, Reply<Vec<f32>>),
    AllGather(String, Reply<Vec<String>>),
    /// Answered by the end.
    End(String, Reply<()>),
    /// Ends MPI, after which nothing is asked.
    Finish(Reply<()>),
    Abort,
}

/// Where this process stands among the ranks.
#[derive(Clone, Debug)]
pub struct Place {
    pub rank: usize,
    pub ranks: usize,
    /// Its number among those of its machine.
    pub local: usize,
    /// The machine.
    pub host: String,
}

/// Starts MPI, says where this process stands, and does what it is asked for. Without a word MPI was running before.
pub fn run(started: &Sender<Place>, asked: &Receiver<Task>, status: &Status) {
    // This thread alone: what MPI grants is enough, whatever it is.
    let Some((universe, _)) = initialize_with_threading(Threading::Funneled) else { return };
    let world = universe.world();
    let (rank, ranks) = (world.rank() as usize, world.size() as usize);
    let local = world.split_shared(world.rank()).rank() as usize;
    let host = processor_name().unwrap_or_default();
    // Whoever does not wait for it any more will ask for nothing.
    let _ = started.send(Place { rank, ranks, local, host });
    let meeting = Meeting { world: &world, status, rank, ranks };
    let mut brought = Vec::new();
    let mut finished = None;
    // Who does not hear an answer has given up, and tasks for nothing but an end.
    for ask in asked {
        match ask {
            Task::Sum(mut numbers, reply) => {
                let sum = meeting.sum(&mut numbers, &mut brought);
                let _ = reply.send(sum.map(|()| numbers));
            }
            Task::AllGather(text, reply) => {
                let _ = reply.send(meeting.all_gather(&text));
            }
            Task::End(why, reply) => {
                let _ = reply.send(Err(meeting.end(&why)));
            }
            Task::Finish(reply) => {
                finished = Some(reply);
                break;
            }
            Task::Abort => meeting.abort(),
        }
    }
    drop(universe);
    if let Some(reply) = finished {
        let _ = reply.send(Ok(()));
    }
}
