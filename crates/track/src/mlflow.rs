//! A run on an MLflow server, by its REST interface 2.0.
//!
//! A thread of its own speaks with the server; training hands it numbers by a queue and never waits, but
//! for a few seconds at the end. The run's id is kept in `mlflow.toml`, and a run that is taken up goes
//! on under it; what the server lacks of the steps before, it is sent from `metrics.csv`, where there is
//! one.
//! Source: mlflow.org, "REST API": `experiments/get-by-name` and `create`, `runs/create`, `get`, `update`
//! and `log-batch`, which takes 1000 metrics and 100 parameters at most.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use base::files::write_whole;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{About, End, Track, TrackError, Tracker, at, csv, now};

/// `{ kind = "mlflow", uri = "http://127.0.0.1:5000", experiment = "maskfit" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mlflow {
    /// Where the server is.
    pub uri: String,
    /// The experiment that the run belongs to; made where there is none of this name.
    pub experiment: String,
}

impl Default for Mlflow {
    fn default() -> Mlflow {
        let (uri, experiment) = ("http://127.0.0.1:5000", "maskfit");
        Mlflow { uri: uri.to_owned(), experiment: experiment.to_owned() }
    }
}

impl Track for Mlflow {
    fn open(&self, about: &About<'_>) -> Result<Box<dyn Tracker>, TrackError> {
        Ok(Box::new(Sender::start(self, about, PATIENCE)))
    }

    fn problem(&self) -> Option<String> {
        let is_uri = self.uri.starts_with("http://") || self.uri.starts_with("https://");
        let problem = match (is_uri, self.experiment.is_empty()) {
            (false, _) => "`uri` is a server's address, such as \"http://127.0.0.1:5000\"",
            (_, true) => "`experiment` has a name",
            _ => return None,
        };
        Some(problem.to_owned())
    }
}

/// How long is waited for a server.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For an answer.
    answer: Duration,
    /// Until what came meanwhile is sent together.
    gather: Duration,
    /// At the end of the run, for all that is still to be sent.
    end: Duration,
}

const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(5),
    gather: Duration::from_secs(1),
    end: Duration::from_secs(10),
};

/// Steps that wait for the server at most.
const QUEUE: usize = 8192;
/// Numbers and parameters that a server takes at once.
const MOST_METRICS: usize = 1000;
const MOST_PARAMS: usize = 100;
/// Letters of a parameter's value that it takes.
const MOST_LETTERS: usize = 6000;
/// How often what a server does not take is sent, at ever longer intervals.
const TRIES: u32 = 4;

enum Job {
    Step { step: usize, millis: u64, values: Vec<(String, f64)> },
    End { end: End, millis: u64 },
}

/// The end of the queue that training sees.
struct Sender {
    uri: String,
    jobs: SyncSender<Job>,
    /// What became of the thread.
    outcome: Receiver<Result<(), TrackError>>,
    is_over: bool,
    patience: Patience,
}

impl Sender {
    fn start(config: &Mlflow, about: &About<'_>, patience: Patience) -> Sender {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(patience.answer))
            .http_status_as_error(false)
            // Servers of this kind are near.
            .proxy(None)
            .build();
        let server = Server {
            agent: agent.into(),
            uri: config.uri.trim_end_matches('/').to_owned(),
            patience,
        };
        let place = Place { config: config.clone(), path: about.dir.join("mlflow.toml") };
        let profile = Profile::of(about);
        let (jobs, queue) = sync_channel(QUEUE);
        let (tell, outcome) = sync_channel(1);
        thread::spawn(move || {
            // Nobody listens any more where the run was faster.
            drop(tell.send(server.track(&place, &profile, &queue)));
        });
        Sender { uri: config.uri.clone(), jobs, outcome, is_over: false, patience }
    }

    fn send(&mut self, job: Job) -> Result<(), TrackError> {
        if self.is_over {
            return Ok(());
        }
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                Err(self.late(&format!("{QUEUE} steps wait for it, and what comes is left out")))
            }
            Err(TrySendError::Disconnected(_)) => {
                self.is_over = true;
                // It ended because of something: nothing was said of an end.
                match self.outcome.recv() {
                    Ok(it) => it,
                    Err(_) => Err(self.late("its thread has ended")),
                }
            }
        }
    }

    fn late(&self, reason: &str) -> TrackError {
        TrackError::Server { uri: self.uri.clone(), reason: reason.to_owned() }
    }
}

impl Tracker for Sender {
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError> {
        let values = values.iter().map(|&(name, it)| (name.to_owned(), it)).collect();
        self.send(Job::Step { step, millis: now().as_millis() as u64, values })
    }

    fn finish(&mut self, end: End) -> Result<(), TrackError> {
        if std::mem::replace(&mut self.is_over, true) {
            return Ok(());
        }
        let began = Instant::now();
        let mut job = Job::End { end, millis: now().as_millis() as u64 };
        while let Err(TrySendError::Full(it)) = self.jobs.try_send(job)
            && began.elapsed() < self.patience.end
        {
            job = it;
            thread::sleep(Duration::from_millis(10));
        }
        let left = self.patience.end.saturating_sub(began.elapsed());
        match self.outcome.recv_timeout(left) {
            Ok(it) => it,
            Err(_) => Err(self.late(&format!(
                "the last numbers were not taken within {} s",
                self.patience.end.as_secs_f64()
            ))),
        }
    }
}

/// The numbers of a step as the server takes them, but for those that are no later than what it has.
fn metrics(
    step: usize,
    millis: u64,
    values: &[(String, f64)],
    done: &BTreeMap<String, usize>,
) -> Vec<Value> {
    let is_new = |name: &String| done.get(name).is_none_or(|&it| it < step);
    // A database's numbers are finite.
    let new = values.iter().filter(|(name, it)| it.is_finite() && is_new(name));
    let metric = |(key, value): &(String, f64)| json!({ "key": key, "value": value, "timestamp": millis, "step": step });
    new.map(metric).collect()
}

/// Where the run is, on the server and here.
struct Place {
    config: Mlflow,
    path: PathBuf,
}

/// What `mlflow.toml` says.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    uri: String,
    experiment: String,
    run_id: String,
}

/// What the server is told of the run.
struct Profile {
    name: String,
    group: Option<String>,
    params: Vec<Value>,
    /// The numbers of the steps that are done.
    before: Vec<(usize, Vec<(String, f64)>)>,
}

impl Profile {
    fn of(about: &About<'_>) -> Profile {
        let mut params = Vec::new();
        flatten("", about.settings, &mut params);
        Profile {
            name: about.name.to_owned(),
            group: about.group.map(str::to_owned),
            params: params
                .into_iter()
                .map(|(key, value)| {
                    let value: String = value.chars().take(MOST_LETTERS).collect();
                    json!({ "key": key, "value": value })
                })
                .collect(),
            before: csv::before(about),
        }
    }
}

/// Settings by their paths.
fn flatten(prefix: &str, table: &toml::Table, found: &mut Vec<(String, String)>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(it) => flatten(&format!("{prefix}{name}."), it, found),
            toml::Value::String(it) => found.push((format!("{prefix}{name}"), it.clone())),
            other => found.push((format!("{prefix}{name}"), other.to_string())),
        }
    }
}

/// The server, and how long it is waited for.
struct Server {
    agent: ureq::Agent,
    uri: String,
    patience: Patience,
}

/// What a server answers instead: whether it might be better later, and why.
struct Refusal {
    is_passing: bool,
    status: u16,
    reason: String,
}

impl Server {
    /// Sends what comes by the queue, until the run ends.
    fn track(
        &self,
        place: &Place,
        profile: &Profile,
        queue: &Receiver<Job>,
    ) -> Result<(), TrackError> {
        let (run_id, done) = self.run(place, profile)?;
        let send = |metrics: &[Value]| {
            metrics.chunks(MOST_METRICS).try_for_each(|some| {
                let body = json!({ "run_id": run_id, "metrics": some });
                self.insist("runs/log-batch", &body).map(drop)
            })
        };
        let millis = now().as_millis() as u64;
        let before = profile.before.iter();
        let before = before.flat_map(|(step, values)| metrics(*step, millis, values, &done));
        send(&before.collect::<Vec<_>>())?;
        loop {
            let Some((metrics, end)) = self.gather(queue, &done) else { return Ok(()) };
            send(&metrics)?;
            if let Some((end, millis)) = end {
                let status = match end {
                    End::Finished => "FINISHED",
                    End::Stopped => "KILLED",
                    End::Failed => "FAILED",
                };
                let body = json!({ "run_id": run_id, "status": status, "end_time": millis });
                return self.insist("runs/update", &body).map(drop);
            }
        }
    }

    /// What there is to send, and the end if it has come; none where nobody sends any more.
    #[expect(clippy::type_complexity, reason = "it is used once, in the function above")]
    fn gather(
        &self,
        queue: &Receiver<Job>,
        done: &BTreeMap<String, usize>,
    ) -> Option<(Vec<Value>, Option<(End, u64)>)> {
        let mut gathered = Vec::new();
        let mut next = Some(queue.recv().ok()?);
        let until = Instant::now() + self.patience.gather;
        while let Some(job) = next {
            match job {
                Job::End { end, millis } => return Some((gathered, Some((end, millis)))),
                Job::Step { step, millis, values } => {
                    gathered.extend(metrics(step, millis, &values, done));
                }
            }
            if gathered.len() >= MOST_METRICS {
                break;
            }
            next = queue.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        }
        Some((gathered, None))
    }

    /// The run's id, and the last step that the server has of each number.
    fn run(
        &self,
        place: &Place,
        profile: &Profile,
    ) -> Result<(String, BTreeMap<String, usize>), TrackError> {
        if let Some(known) = place.known()?
            && let Some(done) = self.take_up(&known.run_id)?
        {
            return Ok((known.run_id, done));
        }
        let mut tags = vec![json!({ "key": "mlflow.source.name", "value": "maskfit" })];
        tags.extend(profile.group.iter().map(|it| json!({ "key": "group", "value": it })));
        let created = self.ask(
            "runs/create",
            &json!({
                "experiment_id": self.experiment(&place.config.experiment)?,
                "run_name": profile.name,
                "start_time": now().as_millis() as u64,
                "tags": tags,
            }),
        )?;
        let run_id = self.field(&created, &["run", "info", "run_id"])?;
        for some in profile.params.chunks(MOST_PARAMS) {
            self.insist("runs/log-batch", &json!({ "run_id": run_id, "params": some }))?;
        }
        let Mlflow { uri, experiment } = place.config.clone();
        let known = Known { uri, experiment, run_id: run_id.clone() };
        let text = toml::to_string(&known).expect("texts are TOML");
        write_whole(&place.path, text.as_bytes()).map_err(at(&place.path))?;
        Ok((run_id, BTreeMap::new()))
    }

    /// Goes on with a run, and says the last step that the server has of each number; none where it does
    /// not know the run.
    fn take_up(&self, run_id: &str) -> Result<Option<BTreeMap<String, usize>>, TrackError> {
        let found = match self.try_once(&format!("runs/get?run_id={run_id}"), None) {
            Err(Refusal { status: 404, .. }) => return Ok(None),
            other => other.map_err(|it| self.error(it))?,
        };
        self.ask("runs/update", &json!({ "run_id": run_id, "status": "RUNNING" }))?;
        let metrics = found["run"]["data"]["metrics"].as_array().cloned().unwrap_or_default();
        let last = |it: &Value| {
            let step = it["step"].as_u64().or_else(|| it["step"].as_str()?.parse().ok());
            Some((it["key"].as_str()?.to_owned(), usize::try_from(step?).ok()?))
        };
        Ok(Some(metrics.iter().filter_map(last).collect()))
    }

    /// The id of the experiment, which is made where there is none.
    fn experiment(&self, name: &str) -> Result<String, TrackError> {
        let encoded: String = name.bytes().map(|it| format!("%{it:02X}")).collect();
        let path = format!("experiments/get-by-name?experiment_name={encoded}");
        match self.try_once(&path, None) {
            Err(Refusal { status: 404, .. }) => {
                let made = self.ask("experiments/create", &json!({ "name": name }))?;
                self.field(&made, &["experiment_id"])
            }
            Err(it) => Err(self.error(it)),
            Ok(found) => self.field(&found, &["experiment", "experiment_id"]),
        }
    }

    /// Sends something until it is taken, or will not be.
    fn insist(&self, path: &str, body: &Value) -> Result<Value, TrackError> {
        let mut pause = self.patience.gather;
        for _ in 1..TRIES {
            match self.try_once(path, Some(body)) {
                Err(it) if it.is_passing => thread::sleep(pause),
                other => return other.map_err(|it| self.error(it)),
            }
            pause *= 2;
        }
        self.ask(path, body)
    }

    fn ask(&self, path: &str, body: &Value) -> Result<Value, TrackError> {
        self.try_once(path, Some(body)).map_err(|it| self.error(it))
    }

    /// One question, with a body or without.
    fn try_once(&self, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        let uri = format!("{}/api/2.0/mlflow/{path}", self.uri);
        let failed = |err: ureq::Error| Refusal {
            is_passing: true,
            status: 0,
            reason: format!("the server cannot be reached ({err}): start it, or correct `uri`"),
        };
        let sent = match body {
            None => self.agent.get(&uri).call(),
            Some(it) => {
                let post = self.agent.post(&uri).header("Content-Type", "application/json");
                post.send(it.to_string())
            }
        };
        let mut answer = sent.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(failed)?;
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        match status {
            200..300 => Ok(said),
            _ => Err(Refusal {
                is_passing: status >= 500,
                status,
                reason: format!(
                    "`{path}` is answered with {status}: {}",
                    said["message"].as_str().unwrap_or("no reason")
                ),
            }),
        }
    }

    fn error(&self, refusal: Refusal) -> TrackError {
        TrackError::Server { uri: self.uri.clone(), reason: refusal.reason }
    }

    /// A text within an answer.
    fn field(&self, answer: &Value, path: &[&str]) -> Result<String, TrackError> {
        let found = path.iter().fold(answer, |it, name| &it[name]).as_str();
        found.map(str::to_owned).ok_or_else(|| TrackError::Server {
            uri: self.uri.clone(),
            reason: format!("its answer has no `{}`: is it an MLflow server?", path.join(".")),
        })
    }
}

impl Place {
    /// The run that was begun for these settings, if there is one.
    ///
    /// # Errors
    /// A file that is there and cannot be read: another run would take the place of its run.
    fn known(&self) -> Result<Option<Known>, TrackError> {
        let text = match fs::read_to_string(&self.path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(at(&self.path))?,
        };
        let known: Known = toml::from_str(&text)
            .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err.message().to_owned()))
            .map_err(at(&self.path))?;
        let Mlflow { uri, experiment } = &self.config;
        Ok((known.uri == *uri && known.experiment == *experiment).then_some(known))
    }
}
