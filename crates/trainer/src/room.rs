//! Checks that a network fits in memory, by its shapes, before anything is allocated for it.
//!
//! The memory that steps need in addition is measured later, with the network allocated (`memory.rs`).

use base::Task;
use candle::{DType, Device, Result};
use models::{Init, Kind, ModelSpec, Params};
use toml::{Table, Value};

use crate::{
    average::AverageConfig, error::size, experiment::Experiment, groups::ParamGroups,
    optim::OptimConfig,
};

/// Returns the setting that makes the network too large, and a message; `None` if the network fits, or if
/// the free memory is unknown.
pub(crate) fn problem(
    experiment: &Experiment,
    task: &Task,
) -> Result<Option<(&'static str, String)>> {
    match memory() {
        // Memory that an earlier fold has freed stays with the process, and is reused.
        Some((free, own)) if experiment.run.check_memory => {
            problem_where(experiment, task, free + own)
        }
        _ => Ok(None),
    }
}

/// As [`problem`], given the free memory.
///
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
    // A checkpoint is copied, and the copy is serialised.
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
            "{cause} has {} parameters: training them needs at least {} of memory (weights, gradients, \
             optimizer state and checkpoint copies), but only {} is free: choose a smaller network (or \
             set `run.check_memory = false`, at the risk of being killed)",
            grouped(params.n_trainable()),
            size(need),
            size(free),
        ),
    )))
}

/// Returns how many numbers of state an optimizer has per parameter.
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
    /// Its section of the config.
    path: &'static str,
    key: String,
    value: Value,
    default: Value,
    /// The number of parameters with the default.
    n_with_default: usize,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cause { key, value, default, n_with_default, .. } = self;
        let n = grouped(*n_with_default);
        write!(f, "with `{key} = {value}` (default: {default}, with {n} parameters) the network")
    }
}

/// Returns the setting whose default would make the network smallest; `None` if all are at their defaults, or
/// no default makes it smaller.
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

/// Formats a number in groups of three digits.
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

/// Returns the bytes that this program can still allocate on the machine, or in its container; `None` if
/// unknown.
pub(crate) fn free() -> Option<f64> {
    memory().map(|it| it.0)
}

/// Returns the free bytes, and the bytes that this process already holds.
fn memory() -> Option<(f64, f64)> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let of_machine = Some(system.available_memory()).filter(|&it| it > 0);
    let pid = sysinfo::get_current_pid().ok()?;
    let what = sysinfo::ProcessRefreshKind::nothing().with_memory();
    let only = sysinfo::ProcessesToUpdate::Some(&[pid]);
    system.refresh_processes_specifics(only, false, what);
    let process = system.process(pid);
    let limits = process.and_then(sysinfo::Process::cgroup_limits);
    let own = process.map_or(0, sysinfo::Process::memory);
    // The page cache is evicted when needed: only resident memory of programs counts.
    let of_container = limits.map(|it| it.total_memory.saturating_sub(it.rss));
    let free = of_machine.into_iter().chain(of_container).min()?;
    Some((free as f64, own as f64))
}

#[cfg(test)]
mod tests {
    use base::Task;

    use super::{grouped, memory, problem_where};
    use crate::experiment::Experiment;

    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

    fn problem(backbone: &str, head: &str, free: f64) -> Option<(&'static str, String)> {
        let mut experiment = Experiment::load(&[]).unwrap();
        experiment.model.backbone = toml::from_str(backbone).unwrap();
        experiment.head = toml::from_str(head).unwrap();
        problem_where(&experiment, &Task::mask_gender_age(), free).unwrap()
    }

    #[test]
    fn too_large_network_is_attributed_to_its_setting() {
        let plain = "kind = \"joint\"";
        let vgg = "kind = \"vgg\"\nhidden = 65536\nwidth = 16.0";
        let small = "kind = \"resnet\"\ndepth = 18\nwidth = 0.125";
        let deep = "kind = \"factored\"\ndepth = 16\nwidth = 65536";
        let groups = "kind = \"resnet\"\ngroups = 4096\ngroup_width = 4096";
        for (backbone, head, path, want) in [
            (vgg, plain, "model.backbone", "with `width = 16.0` (default: 1.0, with "),
            (small, deep, "head", "with `depth = 16` (default: 0, with "),
            (groups, plain, "model.backbone", "with `groups = 4096` (default: 1, with "),
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
            assert!(text.starts_with(want) && text.contains("but only 16.0 GiB is free"), "{text}");
        }
        assert_eq!(problem(small, plain, GIB), None);
        // All settings are at their defaults.
        let (path, text) = problem("kind = \"vgg\"", plain, GIB).unwrap();
        assert_eq!(path, "model.backbone");
        assert!(text.starts_with("the network has 139,643,986 parameters"), "{text}");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn some_memory_is_free() {
        assert!(memory().is_none_or(|(free, own)| free > 1e6 && own > 1e5));
    }
}
