//! The settings that are invalid although their types are valid.

use augment::{Pipeline, Statistics};
use base::Length;

use super::{CheckpointSection, Experiment};
use crate::{amp::AmpDtype, device::DeviceSetting, sizes::Size};

impl Experiment {
    /// Returns a message for each invalid setting, although its type is valid: where, and what.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut note = |path: &str, problem: Option<String>| {
            problems.extend(problem.map(|it| format!("at `{path}`: {it}")));
        };
        for (path, ops) in
            [("augment.train", &self.augment.train), ("augment.eval", &self.augment.eval)]
        {
            for (idx, op) in ops.iter().enumerate() {
                note(&format!("{path}[{idx}]"), op.problem());
            }
        }
        let random = self.augment.eval.iter().find(|it| it.is_random());
        note(
            "augment.eval",
            random.map(|it| {
                format!("`{}` is random, but inference must be deterministic", it.op.kind())
            }),
        );
        let eval = Pipeline {
            ops: self.augment.eval.clone(),
            // Unused: the images are not passed to a network.
            statistics: Statistics { mean: [0.0; 3], std: [1.0; 3] },
            max_pixels: self.data.max_pixels,
        };
        if eval.size().is_ok() {
            note("tta", self.tta.get().views(&eval, &self.augment.train).err());
        }
        note("loss", self.loss.get().problem());
        note("data.pseudo", self.data.pseudo.problem());
        note("data.sampler", self.data.sampler.get().problem());
        for (factor, numbers) in &self.data.leave_out {
            let number = numbers.iter().find(|it| !it.is_finite());
            note("data.leave_out", number.map(|it| format!("`{factor}` must be finite, not {it}")));
        }
        for (idx, op) in self.augment.mix.iter().enumerate() {
            let path = format!("augment.mix[{idx}]");
            note(&path, op.get().problem());
            let is_never = op.get().until().is_some_and(Length::is_none);
            note(&path, is_never.then(|| "`until` must be greater than 0".to_owned()));
        }
        note("optim", self.optim.get().problem());
        note("groups", self.groups.problem());
        note("train.clip", self.train.clip.get().problem());
        note("schedule", self.schedule.get().problem());
        note("average", self.average.get().problem());
        note("model.backbone", self.model.backbone.get().problem());
        note("head", self.head.get().problem());
        let best_by = self.eval.best_by.get();
        note("eval.best_by", best_by.problem());
        let lacks_numbers = best_by.needs_numbers() && !self.head.get().needs_numbers();
        let what = || {
            let (metric, head) = (self.eval.best_by.kind(), self.head.kind());
            format!(
                "`{metric}` scores predicted numbers, but the head `{head}` predicts none: choose another"
            )
        };
        note("eval.best_by", lacks_numbers.then(what));
        let statistics = self.augment.statistics.get().known();
        note("augment.statistics", statistics.and_then(|it| it.problem()));
        let count = |n: usize, most: usize| {
            (n == 0 || n > most).then(|| format!("is from 1 to {most}, not {n}"))
        };
        let is_more = self.threads > 1024;
        note("threads", is_more.then(|| format!("is from 0 to 1024, not {}", self.threads)));
        note("amp", self.amp.problem());
        let is_refused = self.device == DeviceSetting::Cpu && self.amp.dtype != AmpDtype::Off;
        let what = "mixed precision runs on a card, and `device` is \"cpu\": set `device = \"auto\"`, \
                    or `amp.dtype = \"off\"`";
        note("amp.dtype", is_refused.then(|| what.to_owned()));
        note("data.num_workers", count(self.data.num_workers, 1024));
        note("data.prefetch", count(self.data.prefetch, 1024));
        note("train.batch_size", count(self.train.batch_size, 1 << 20));
        for (idx, Size { size, batch_size, .. }) in self.train.sizes.iter().enumerate() {
            let is_size = size.iter().all(|it| (1..=1 << 14).contains(it));
            let what = || "is [height, width], each at least 1 and at most 16384".to_owned();
            note(&format!("train.sizes[{idx}].size"), (!is_size).then(what));
            let batch_size = count(batch_size.unwrap_or(1), 1 << 20);
            note(&format!("train.sizes[{idx}].batch_size"), batch_size);
        }
        note("train.accumulate", count(self.train.accumulate, 1 << 20));
        let batch_sizes = self.train.sizes.iter().filter_map(|it| it.batch_size);
        let smallest = batch_sizes.fold(self.train.batch_size, usize::min);
        // A batch size of 0 is a problem of its own.
        let is_too_many = smallest > 0 && self.train.accumulate > smallest;
        let what = || format!("must be at most {smallest}, the smallest batch size");
        note("train.accumulate", is_too_many.then(what));
        note("checkpoint.keep", count(self.checkpoint.keep, 1 << 20));
        let CheckpointSection { every, minutes, .. } = self.checkpoint;
        note("checkpoint.every", every.is_none().then(|| "must be greater than 0".to_owned()));
        let is_time = (0.0..1e9).contains(&minutes);
        note("checkpoint.minutes", (!is_time).then(|| format!("is 0 or more, not {minutes}")));
        for (idx, it) in self.track.iter().enumerate() {
            let path = format!("track[{idx}]");
            note(&path, it.get().problem());
            let is_twice = self.track[..idx].iter().any(|before| before.kind() == it.kind());
            note(&path, is_twice.then(|| format!("`{}` is listed twice", it.kind())));
        }
        note("submit", self.submit.get().problem());
        note("eval.batch_size", count(self.eval.batch_size, 1 << 20));
        note("eval.every", self.eval.every.is_none().then(|| "must be greater than 0".to_owned()));
        let name = self.run.name.as_str();
        let is_name = !name.contains(['/', '\\']) && !name.starts_with('.') && name == name.trim();
        note("run.name", (!is_name).then(|| "must be a folder name, without `/`".to_owned()));
        let is_taken = name == "latest";
        note("run.name", is_taken.then(|| "`latest` is reserved for the newest run".to_owned()));
        let no_dir = self.run.dir.as_os_str().is_empty();
        note(
            "run.dir",
            no_dir.then(|| "must be the folder of all runs, such as \"runs\"".to_owned()),
        );
        let of_phases = self.problems_of_phases(&problems);
        problems.extend(of_phases);
        problems
    }
}
