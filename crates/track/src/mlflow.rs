//! A run on an MLflow tracking server, through its REST API 2.0.
//!
//! A background thread sends the requests; training passes metrics to it through a queue and never waits,
//! except for a few seconds at the end. The run's id is stored in `mlflow.toml`, and a resumed run
//! continues under it; metrics of earlier steps that the server lacks are sent from `metrics.csv`, if
//! there is one.
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

use base::files::write_atomic;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{About, End, Track, TrackError, Tracker, at, csv, now};

/// `{ kind = "mlflow", uri = "http://127.0.0.1:5000", experiment = "maskfit" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mlflow {
    /// The server's address.
    pub uri: String,
    /// The experiment that the run belongs to; created if it does not exist.
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
        Ok(Box::new(Sender::start(self, about, TIMEOUTS)))
    }

    fn problem(&self) -> Option<String> {
        let is_uri = self.uri.starts_with("http://") || self.uri.starts_with("https://");
        let problem = match (is_uri, self.experiment.is_empty()) {
            (false, _) => "`uri` must be a server's address, such as \"http://127.0.0.1:5000\"",
            (_, true) => "`experiment` must not be empty",
            _ => return None,
        };
        Some(problem.to_owned())
    }
}

/// Timeouts of the communication with a server.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// For the response to a request.
    response: Duration,
    /// How long metrics are gathered into one request.
    gather: Duration,
    /// At the end of the run, for all that is still to be sent.
    end: Duration,
}

const TIMEOUTS: Timeouts = Timeouts {
    response: Duration::from_secs(5),
    gather: Duration::from_secs(1),
    end: Duration::from_secs(10),
};

/// The maximum number of queued steps.
const QUEUE: usize = 8192;
/// The maximum number of metrics and parameters per request.
const MOST_METRICS: usize = 1000;
const MOST_PARAMS: usize = 100;
/// The maximum length of a parameter's value, in characters.
const MOST_LETTERS: usize = 6000;
/// The number of attempts to send a request, with exponential backoff.
const TRIES: u32 = 4;

enum Job {
    Step { step: usize, millis: u64, values: Vec<(String, f64)> },
    End { end: End, millis: u64 },
}

/// The training side of the queue.
struct Sender {
    uri: String,
    jobs: SyncSender<Job>,
    /// The result of the thread.
    outcome: Receiver<Result<(), TrackError>>,
    is_over: bool,
    timeouts: Timeouts,
}

impl Sender {
    fn start(config: &Mlflow, about: &About<'_>, timeouts: Timeouts) -> Sender {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(timeouts.response))
            .http_status_as_error(false)
            // Tracking servers are on the local network.
            .proxy(None)
            .build();
        let server = Server {
            agent: agent.into(),
            uri: config.uri.trim_end_matches('/').to_owned(),
            timeouts,
        };
        let place = Place { config: config.clone(), path: about.dir.join("mlflow.toml") };
        let profile = Profile::of(about);
        let (jobs, queue) = sync_channel(QUEUE);
        let (result, outcome) = sync_channel(1);
        thread::spawn(move || {
            // The receiver is gone if the run ended first.
            drop(result.send(server.track(&place, &profile, &queue)));
        });
        Sender { uri: config.uri.clone(), jobs, outcome, is_over: false, timeouts }
    }

    fn send(&mut self, job: Job) -> Result<(), TrackError> {
        if self.is_over {
            return Ok(());
        }
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                Err(self.late(&format!("{QUEUE} steps are queued, further steps are dropped")))
            }
            Err(TrySendError::Disconnected(_)) => {
                self.is_over = true;
                // The thread ended before the run did: its result is the reason.
                match self.outcome.recv() {
                    Ok(it) => it,
                    Err(_) => Err(self.late("the sending thread has ended")),
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
            && began.elapsed() < self.timeouts.end
        {
            job = it;
            thread::sleep(Duration::from_millis(10));
        }
        let left = self.timeouts.end.saturating_sub(began.elapsed());
        match self.outcome.recv_timeout(left) {
            Ok(it) => it,
            Err(_) => Err(self.late(&format!(
                "the last metrics were not sent within {} s",
                self.timeouts.end.as_secs_f64()
            ))),
        }
    }
}

/// Encodes the metrics of a step for the server, without those that are not newer than what it has.
fn metrics(
    step: usize,
    millis: u64,
    values: &[(String, f64)],
    done: &BTreeMap<String, usize>,
) -> Vec<Value> {
    let is_new = |name: &String| done.get(name).is_none_or(|&it| it < step);
    // The server's database stores finite numbers only.
    let new = values.iter().filter(|(name, it)| it.is_finite() && is_new(name));
    let metric = |(key, value): &(String, f64)| json!({ "key": key, "value": value, "timestamp": millis, "step": step });
    new.map(metric).collect()
}

/// Where the run is stored, on the server and locally.
struct Place {
    config: Mlflow,
    path: PathBuf,
}

/// The content of `mlflow.toml`.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    uri: String,
    experiment: String,
    run_id: String,
}

/// The run's description, sent to the server.
struct Profile {
    name: String,
    group: Option<String>,
    params: Vec<Value>,
    /// The metrics of the completed steps.
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

/// Flattens nested settings into dotted keys.
fn flatten(prefix: &str, table: &toml::Table, found: &mut Vec<(String, String)>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(it) => flatten(&format!("{prefix}{name}."), it, found),
            toml::Value::String(it) => found.push((format!("{prefix}{name}"), it.clone())),
            other => found.push((format!("{prefix}{name}"), other.to_string())),
        }
    }
}

/// A server, and its timeouts.
struct Server {
    agent: ureq::Agent,
    uri: String,
    timeouts: Timeouts,
}

/// A failed request.
struct Refusal {
    /// Whether a retry may succeed.
    is_transient: bool,
    status: u16,
    reason: String,
}

impl Server {
    /// Sends what arrives through the queue, until the run ends.
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
                self.retry("runs/log-batch", &body).map(drop)
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
                return self.retry("runs/update", &body).map(drop);
            }
        }
    }

    /// Receives the metrics to send next, and the end of the run if it has come; `None` if the queue is
    /// closed.
    #[expect(clippy::type_complexity, reason = "it is used once, in the function above")]
    fn gather(
        &self,
        queue: &Receiver<Job>,
        done: &BTreeMap<String, usize>,
    ) -> Option<(Vec<Value>, Option<(End, u64)>)> {
        let mut gathered = Vec::new();
        let mut next = Some(queue.recv().ok()?);
        let until = Instant::now() + self.timeouts.gather;
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

    /// Resumes or creates the run; returns its id, and the last step that the server has of each metric.
    fn run(
        &self,
        place: &Place,
        profile: &Profile,
    ) -> Result<(String, BTreeMap<String, usize>), TrackError> {
        if let Some(known) = place.known()?
            && let Some(done) = self.resume(&known.run_id)?
        {
            return Ok((known.run_id, done));
        }
        let mut tags = vec![json!({ "key": "mlflow.source.name", "value": "maskfit" })];
        tags.extend(profile.group.iter().map(|it| json!({ "key": "group", "value": it })));
        let created = self.request(
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
            self.retry("runs/log-batch", &json!({ "run_id": run_id, "params": some }))?;
        }
        let Mlflow { uri, experiment } = place.config.clone();
        let known = Known { uri, experiment, run_id: run_id.clone() };
        let text = toml::to_string(&known).expect("strings serialize to TOML");
        write_atomic(&place.path, text.as_bytes()).map_err(at(&place.path))?;
        Ok((run_id, BTreeMap::new()))
    }

    /// Resumes a run; returns the last step that the server has of each metric, or `None` if the server
    /// does not have the run.
    fn resume(&self, run_id: &str) -> Result<Option<BTreeMap<String, usize>>, TrackError> {
        let found = match self.try_once(&format!("runs/get?run_id={run_id}"), None) {
            Err(Refusal { status: 404, .. }) => return Ok(None),
            other => other.map_err(|it| self.error(it))?,
        };
        self.request("runs/update", &json!({ "run_id": run_id, "status": "RUNNING" }))?;
        let metrics = found["run"]["data"]["metrics"].as_array().cloned().unwrap_or_default();
        let last = |it: &Value| {
            let step = it["step"].as_u64().or_else(|| it["step"].as_str()?.parse().ok());
            Some((it["key"].as_str()?.to_owned(), usize::try_from(step?).ok()?))
        };
        Ok(Some(metrics.iter().filter_map(last).collect()))
    }

    /// Returns the id of the experiment, which is created if it does not exist.
    fn experiment(&self, name: &str) -> Result<String, TrackError> {
        let encoded: String = name.bytes().map(|it| format!("%{it:02X}")).collect();
        let path = format!("experiments/get-by-name?experiment_name={encoded}");
        match self.try_once(&path, None) {
            Err(Refusal { status: 404, .. }) => {
                let made = self.request("experiments/create", &json!({ "name": name }))?;
                self.field(&made, &["experiment_id"])
            }
            Err(it) => Err(self.error(it)),
            Ok(found) => self.field(&found, &["experiment", "experiment_id"]),
        }
    }

    /// Sends a request, with retries after transient failures.
    fn retry(&self, path: &str, body: &Value) -> Result<Value, TrackError> {
        let mut pause = self.timeouts.gather;
        for _ in 1..TRIES {
            match self.try_once(path, Some(body)) {
                Err(it) if it.is_transient => thread::sleep(pause),
                other => return other.map_err(|it| self.error(it)),
            }
            pause *= 2;
        }
        self.request(path, body)
    }

    fn request(&self, path: &str, body: &Value) -> Result<Value, TrackError> {
        self.try_once(path, Some(body)).map_err(|it| self.error(it))
    }

    /// Sends one request: POST with a body, GET without.
    fn try_once(&self, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        let uri = format!("{}/api/2.0/mlflow/{path}", self.uri);
        let failed = |err: ureq::Error| Refusal {
            is_transient: true,
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
        let mut response = sent.map_err(failed)?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(failed)?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        match status {
            200..300 => Ok(body),
            _ => Err(Refusal {
                is_transient: status >= 500,
                status,
                reason: format!(
                    "`{path}` returned status {status}: {}",
                    body["message"].as_str().unwrap_or("no message")
                ),
            }),
        }
    }

    fn error(&self, refusal: Refusal) -> TrackError {
        TrackError::Server { uri: self.uri.clone(), reason: refusal.reason }
    }

    /// Returns a string field of a response.
    fn field(&self, response: &Value, path: &[&str]) -> Result<String, TrackError> {
        let found = path.iter().fold(response, |it, name| &it[name]).as_str();
        found.map(str::to_owned).ok_or_else(|| TrackError::Server {
            uri: self.uri.clone(),
            reason: format!("the response has no `{}`: is it an MLflow server?", path.join(".")),
        })
    }
}

impl Place {
    /// Returns the run that was created with these settings, if there is one.
    ///
    /// # Errors
    /// A file that exists and cannot be read: a new run would take the place of its run.
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
