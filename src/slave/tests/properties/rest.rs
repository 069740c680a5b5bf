//! The end of each life: the master is there, everything ends, everything is acknowledged, and nothing is left.

use super::world::{Stream, World};
use super::{Check, Step, ensure};
use crate::slave::constants::MASTER_PING_TIMEOUT;

/// Each round acknowledges one update of each stream.
const ROUNDS: usize = 40;

impl World {
    pub fn rest(&mut self) -> Check {
        if !self.exited && (self.master.pid.is_none() || !self.master.up) {
            self.detected(0)?;
        }
        if !self.exited {
            // A message that was lost broke a link.
            self.master.asked = None;
            self.step(Step::Exited)?;
        }
        for _ in 0..ROUNDS {
            if self.exited {
                return Ok(());
            }
            self.round()?;
            let open = |stream: &Stream| stream.owed || !stream.queue.is_empty();
            if self.in_touch && self.master.tasks.is_empty() && !self.streams.values().any(open) {
                break;
            }
        }
        if self.stopping && !self.exited {
            self.pass(11_000)?;
        }
        ensure!(self.exited || !self.stopping, "it was asked to stop and goes on");
        match self.exited {
            true => Ok(()),
            false => self.at_rest(),
        }
    }

    fn round(&mut self) -> Check {
        while let Some(id) = self.choose(0, |container| container.alive) {
            self.end(&id)?;
            if self.exited {
                return Ok(());
            }
        }
        self.ping(self.master.knows)?;
        self.pass(11_000)?;
        if let Some(question) = self.master.asked.take().filter(|_| !self.exited) {
            self.answer(question)?;
        }
        for (key, uuid) in self.inbox.clone() {
            if !self.exited {
                self.acknowledge(&key, uuid)?;
            }
        }
        Ok(())
    }

    fn at_rest(&self) -> Check {
        for (key, stream) in &self.streams {
            ensure!(stream.queue.is_empty(), "{key:?} has updates that nobody has heard of");
            ensure!(!stream.owed, "{key:?} never got the update that it is owed");
            ensure!(stream.received == stream.reported, "{key:?}: updates were lost, or came out of order");
        }
        for (id, container) in &self.containers {
            ensure!(!self.lives(&container.key.0) || container.told || container.ended, "container {id} was forgotten");
            let terminals = container.terminals;
            let fits = if self.lives(&container.key.0) { terminals == 1 } else { terminals <= 1 };
            ensure!(fits, "{:?} in {id} has ended {terminals} times", container.key);
        }
        ensure!(self.master.tasks.is_empty(), "the master has {:?} for ever", self.master.tasks);
        ensure!(self.slave.frameworks().is_empty(), "frameworks are left");
        ensure!(self.slave.updates.is_empty(), "updates are left");
        ensure!(self.in_touch, "it is not registered");
        let deadline = self.slave.deadline();
        ensure!(deadline == Some(self.heard_at + MASTER_PING_TIMEOUT), "it waits for more than pings");
        Ok(())
    }
}
