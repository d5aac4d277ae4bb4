//! `cargo xtask kill`: kills runs with `kill -9` and resumes them.
//!
//! A kill is triggered by the contents of the run's folder: a row of `steps.csv`, or the temporary file of an
//! atomic write (a few are triggered by time, to cover the beginning and the end of the program). Where the
//! kill occurred is determined from the files it left, not from its trigger: one that missed its target
//! counts for what it hit.

mod aim;
mod change;
mod course;
mod place;

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context as _, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use self::{
    aim::strike,
    change::Change,
    course::Course,
    place::{Place, Places},
};
use super::{bench::Bench, tally::Tally};

/// Kills runs with `kill -9`, in parallel on all cores, and resumes them; every other run is first resumed
/// with different settings or labels, which must be refused, or is allowed.
pub(crate) fn kill(program: &Path, n_times: usize) -> anyhow::Result<()> {
    let bench = Bench::new(program, &std::env::temp_dir())?;
    let began = Instant::now();
    let whole = bench.whole()?;
    let lasts = began.elapsed();
    let course = Course::of(&bench, "whole", lasts)?;
    ensure!(
        course.total > 20 && !course.better.is_empty(),
        "the run is too short to be killed at a chosen moment"
    );
    println!(
        "an uninterrupted run takes {:.1} s and has {} steps; {n_times} runs are killed",
        lasts.as_secs_f64(),
        course.total
    );
    let (next, tally, places) =
        (AtomicUsize::new(0), Mutex::<Tally>::default(), Mutex::<Places>::default());
    let one = |idx: usize| -> anyhow::Result<()> {
        let name = format!("killed-{idx}");
        let mut rng = StdRng::seed_from_u64(idx as u64);
        bench.begin(&name)?;
        let mut kills = Vec::new();
        for aim in course.aims(&mut rng) {
            strike(&mut bench.start(&name, &[])?, &bench.run(&name), &aim)?;
            let place = Place::of(&bench, &name);
            kills.push(place.describe(course.total));
            places.lock().expect(NO_PANIC).note(&place, course.total);
        }
        let mut what = kills.join(", then ");
        if idx % 2 == 1 && bench.is_resumable(&name) {
            let change = Change::sample(&course, &mut rng);
            what += &format!(", {}", change.describe());
            bench.refuses(&name, &change).with_context(|| what.clone())?;
            if rng.random_bool(0.4) {
                places.lock().expect(NO_PANIC).n_allowed += 1;
                let (alone, again) = bench
                    .allowed(&name, &change, &whole, &course, &mut rng)
                    .with_context(|| what.clone())?;
                what += ", refused, then allowed and killed again";
                tally.lock().expect(NO_PANIC).note(&alone, &again, &what, "");
                return Ok(fs::remove_dir_all(bench.place(&name))?);
            }
            places.lock().expect(NO_PANIC).n_refused += 1;
            what += ", refused, and reverted";
        }
        let out = bench.resume_or_begin(&name)?;
        let found = bench.files(&name)?;
        tally.lock().expect(NO_PANIC).note(&whole, &found, &what, &out);
        Ok(fs::remove_dir_all(bench.place(&name))?)
    };
    let work = || {
        while let idx = next.fetch_add(1, Ordering::Relaxed)
            && idx < n_times
        {
            if let Err(err) = one(idx) {
                println!("run {idx}: {err:#}");
                tally.lock().expect(NO_PANIC).bad.push(format!("run {idx}: {err:#}"));
            }
        }
    };
    thread::scope(|scope| {
        let n_workers = thread::available_parallelism().map_or(1, usize::from);
        (0..n_workers).for_each(|_| drop(scope.spawn(work)));
    });
    let places = places.into_inner().expect(NO_PANIC);
    println!("in {:.0} s {places}", began.elapsed().as_secs_f64());
    tally.into_inner().expect(NO_PANIC).finish(n_times)?;
    places.check()
}

const NO_PANIC: &str = "no thread panics";

impl Bench {
    /// Returns whether a run has a checkpoint and is not finished.
    fn is_resumable(&self, name: &str) -> bool {
        let checkpoints = fs::read_dir(self.run(name).join("checkpoints")).into_iter().flatten();
        let mut names =
            checkpoints.flatten().map(|it| it.file_name().to_string_lossy().into_owned());
        let is_finished = self.run(name).join("report.toml").is_file();
        !is_finished && names.any(|it| !it.starts_with('.'))
    }
}
