//! Whether there is room for a network at all, told from its shapes before anything is allocated for it.
//!
//! What steps need besides is measured later, of a network that is there (`memory.rs`).

use base::Task;
use candle::{DType, Device, Result};
use models::{Init, Kind, ModelSpec, Params};
use toml::{Table, Value};

use crate::{
    average::AverageConfig, error::size, experiment::Experiment, groups::ParamGroups,
    optim::OptimConfig,
};

/// The setting that asks for too large a network, and what to do about it; none where it fits, or where
/// nobody knows what is free.
pub(crate) fn problem(
    experiment: &Experiment,
    task: &Task,
) -> Result<Option<(&'static str, String)>> {
    match free() {
        Some(free) if experiment.run.check_memory => problem_where(experiment, task, free),
        _ => Ok(None),
    }
}

/// - `free`: bytes.
fn problem_where(
    experiment: &Experiment,
    task: &Task,
    free: f64,
) -> Result<Option<(&'static str, String)>> {
    let Experiment { model, head, optim, average, .. } = experiment;
    let spec = ModelSpec { backbone: model.backbone.clone(), head: head.clone() };
    let params = spec.params(task)?;
    let n_trainable = params.n_trainable() as f64;
    let n_all = params.named().map(|(_, it)| it.var.elem_count()).sum::<usize>() as f64;
    let n_models = if matches!(average, AverageConfig::Off(_)) { 1.0 } else { 2.0 };
    let of_learner = n_models * n_all + n_slots(optim)? * n_trainable;
    // A checkpoint is copied, and the copy becomes the bytes of a file.
    let need = 4.0 * (3.0 * of_learner + n_trainable);
    if need <= free {
        return Ok(None);
    }
    let (path, cause) = match cause(&spec, task)? {
        Some(it) => (it.path, it.to_string()),
        None => ("model.backbone", "the network".to_owned()),
    };
    Ok(Some((
        path,
        format!(
            "{cause} has {} parameters: to train them takes at least {} of memory (weights, gradients, \
             the optimizer's state and copies for checkpoints), and {} are free: choose a smaller network \
             (or `run.check_memory = false`, at the risk of being killed)",
            grouped(params.n_trainable()),
            size(need),
            size(free),
        ),
    )))
}

/// How many numbers an optimizer remembers of each parameter.
fn n_slots(optim: &OptimConfig) -> Result<f64> {
    let mut one = Params::fresh(base::Seed(0), DType::F32, &Device::Cpu);
    let dims = [64, 64];
    one.builder().param("weight", Kind::Matrix, &dims, Init::Constant(0.0))?;
    let state = optim.get().build(&one, &ParamGroups::default()).state()?;
    let n: usize = state.iter().map(|(_, it)| it.elem_count()).sum();
    Ok((n / one.n_trainable()) as f64)
}

/// A setting that makes a network large.
struct Cause {
    /// Where in the config.
    path: &'static str,
    key: String,
    value: Value,
    default: Value,
    /// Parameters with the default.
    n_with_default: usize,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cause { key, value, default, n_with_default, .. } = self;
        let n = grouped(*n_with_default);
        write!(f, "with `{key} = {value}` (by default {default}, and {n} parameters) the network")
    }
}

/// The setting without which the network would be smallest; none where each is at its default, or the
/// defaults are no smaller.
fn cause(spec: &ModelSpec, task: &Task) -> Result<Option<Cause>> {
    let table = |it: &ModelSpec| Table::try_from(it).map_err(candle::Error::wrap);
    let whole = table(spec)?;
    let mut causes = Vec::new();
    for (section, path) in [("backbone", "model.backbone"), ("head", "head")] {
        let Some(ours) = whole.get(section).and_then(Value::as_table) else { continue };
        let mut plain = whole.clone();
        let kind = ours.iter().filter(|it| it.0 == "kind").map(|(k, v)| (k.clone(), v.clone()));
        plain.insert(section.to_owned(), Value::Table(kind.collect()));
        let plain = table(&plain.try_into().map_err(candle::Error::wrap)?)?;
        let Some(plain) = plain.get(section).and_then(Value::as_table) else { continue };
        for (key, value) in ours {
            let Some(default) = plain.get(key).filter(|it| *it != value) else { continue };
            let mut other = ours.clone();
            other.insert(key.clone(), default.clone());
            let mut tried = whole.clone();
            tried.insert(section.to_owned(), Value::Table(other));
            let tried: ModelSpec = tried.try_into().map_err(candle::Error::wrap)?;
            if tried.problem(task).is_none() {
                let n_with_default = tried.params(task)?.n_trainable();
                let (key, value, default) = (key.clone(), value.clone(), default.clone());
                causes.push(Cause { path, key, value, default, n_with_default });
            }
        }
    }
    let n = spec.params(task)?.n_trainable();
    let least = causes.into_iter().min_by_key(|it| it.n_with_default);
    Ok(least.filter(|it| it.n_with_default < n))
}

/// A number in groups of three digits.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes that are free for this program: what the machine has left, or its container.
pub(crate) fn free() -> Option<f64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let of_machine = Some(system.available_memory()).filter(|&it| it > 0);
    let pid = sysinfo::get_current_pid().ok()?;
    let what = sysinfo::ProcessRefreshKind::nothing();
    let only = sysinfo::ProcessesToUpdate::Some(&[pid]);
    system.refresh_processes_specifics(only, false, what);
    let limits = system.process(pid).and_then(sysinfo::Process::cgroup_limits);
    // Files that are only remembered give way: what counts is what programs hold.
    let of_container = limits.map(|it| it.total_memory.saturating_sub(it.rss));
    of_machine.into_iter().chain(of_container).min().map(|it| it as f64)
}

#[cfg(test)]
mod tests {
    use base::Task;

    use super::{free, grouped, problem_where};
    use crate::experiment::Experiment;

    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

    fn problem(backbone: &str, head: &str, free: f64) -> Option<(&'static str, String)> {
        let mut experiment = Experiment::load(&[]).unwrap();
        experiment.model.backbone = toml::from_str(backbone).unwrap();
        experiment.head = toml::from_str(head).unwrap();
        problem_where(&experiment, &Task::mask_gender_age(), free).unwrap()
    }

    #[test]
    fn a_network_that_no_machine_holds_is_told_from_its_settings() {
        let plain = "kind = \"joint\"";
        let vgg = "kind = \"vgg\"\nhidden = 65536\nwidth = 16.0";
        let small = "kind = \"resnet\"\ndepth = 18\nwidth = 0.125";
        let deep = "kind = \"factored\"\ndepth = 16\nwidth = 65536";
        let groups = "kind = \"resnet\"\ngroups = 4096\ngroup_width = 4096";
        for (backbone, head, path, want) in [
            (vgg, plain, "model.backbone", "with `width = 16.0` (by default 1.0, and "),
            (small, deep, "head", "with `depth = 16` (by default 0, and "),
            (groups, plain, "model.backbone", "with `groups = 4096` (by default 1, and "),
            ("kind = \"densenet\"\nwidth = 16.0", plain, "model.backbone", "with `width = 16.0`"),
            ("kind = \"convnext\"\nwidth = 16.0", plain, "model.backbone", "with `width = 16.0`"),
            ("kind = \"xresnet\"\nwidth = 16.0", plain, "model.backbone", "with `width = 16.0`"),
            (
                "kind = \"efficientnet\"\nvariant = \"v2l\"\ndepth = 16.0\nwidth = 16.0",
                plain,
                "model.backbone",
                "with `width = 16.0`",
            ),
        ] {
            let (found, text) = problem(backbone, head, 16.0 * GIB).expect(backbone);
            assert_eq!(found, path, "{text}");
            assert!(text.starts_with(want) && text.contains("and 16.0 GiB are free"), "{text}");
        }
        assert_eq!(problem(small, plain, GIB), None);
        // Nothing but a smaller machine.
        let (path, text) = problem("kind = \"vgg\"", plain, GIB).unwrap();
        assert_eq!(path, "model.backbone");
        assert!(text.starts_with("the network has 139,643,986 parameters"), "{text}");
    }

    #[test]
    fn digits_are_in_groups() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn some_memory_is_free() {
        assert!(free().is_none_or(|it| it > 1e6));
    }
}
