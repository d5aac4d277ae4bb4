//! A run on an MLflow server, by its REST interface 2.0.
//!
//! A thread of its own speaks with the server; training hands it numbers by a queue and never waits, but
//! for a few seconds at the end. The run's id is kept in `mlflow.toml`, and a run that is taken up goes
//! on under it; what the server lacks of the steps before, it is sent from `metrics.csv`, where there is
//! one.
//! Source: mlflow.org, "REST API": `experiments/get-by-name` and `create`, `runs/create`, `get`, `update`
//! and `log-batch`, which takes 1000 metrics and 100 parameters at most.

use std::{
    collections::BTreeMap,
    fs,
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
        if let Some(known) = place.known()
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
    fn known(&self) -> Option<Known> {
        let known: Known = toml::from_str(&fs::read_to_string(&self.path).ok()?).ok()?;
        let Mlflow { uri, experiment } = &self.config;
        (known.uri == *uri && known.experiment == *experiment).then_some(known)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Read as _, Write as _},
        net::TcpListener,
        path::Path,
        sync::{Arc, Mutex},
        thread,
        time::{Duration, Instant},
    };

    use serde_json::{Value, json};

    use super::{Mlflow, Patience, QUEUE, Sender};
    use crate::{About, End, Tracker as _};

    const SHORT: Patience = Patience {
        answer: Duration::from_millis(300),
        gather: Duration::from_millis(20),
        end: Duration::from_secs(2),
    };

    type Asked = Arc<Mutex<Vec<(String, Value)>>>;

    /// A server that answers what `answer` says to a path, and what it was asked; `None` for never.
    fn serve(answer: impl Fn(&str) -> Option<(u16, Value)> + Send + 'static) -> (Mlflow, Asked) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut line, mut path, mut n) = (String::new(), String::new(), 0);
                while stream.read_line(&mut line).unwrap() > 2 {
                    let lower = line.to_lowercase();
                    if let Some(it) = lower.strip_prefix("content-length:") {
                        n = it.trim().parse().unwrap();
                    }
                    if path.is_empty() {
                        let full = line.split(' ').nth(1).unwrap();
                        path = full.trim_start_matches("/api/2.0/mlflow/").to_owned();
                    }
                    line.clear();
                }
                let mut body = vec![0; n];
                stream.read_exact(&mut body).unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let Some((status, said)) = answer(&path) else {
                    silent.push(stream);
                    continue;
                };
                seen.lock().unwrap().push((path, body));
                let said = said.to_string();
                let head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: ");
                let answer = format!("{head}{}\r\n\r\n{said}", said.len());
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        (Mlflow { uri, ..Mlflow::default() }, asked)
    }

    /// Answers as a server does that knows a run with a loss of step 3.
    fn well(path: &str) -> Option<(u16, Value)> {
        let path = path.split('?').next().unwrap();
        let said = match path {
            "experiments/get-by-name" => return Some((404, json!({ "message": "none" }))),
            "experiments/create" => json!({ "experiment_id": "5" }),
            "runs/create" => json!({ "run": { "info": { "run_id": "r1" } } }),
            "runs/get" => {
                let metrics = json!([{ "key": "loss", "value": 0.5, "timestamp": 1, "step": 3 }]);
                json!({ "run": { "data": { "metrics": metrics } } })
            }
            _ => json!({}),
        };
        Some((200, said))
    }

    fn start(config: &Mlflow, dir: &Path, step: usize) -> Sender {
        let settings = toml::toml! {
            seed = 7
            [head]
            kind = "joint"
        };
        let about = About {
            dir,
            name: "folds/fold-0",
            group: Some("folds"),
            step,
            columns: &["loss", "acc"].map(str::to_owned),
            settings: &settings,
        };
        Sender::start(config, &about, SHORT)
    }

    /// The steps and keys of all numbers that were sent.
    fn numbers(asked: &Asked) -> Vec<(u64, String)> {
        let asked = asked.lock().unwrap();
        let batches = asked.iter().filter(|(path, _)| path == "runs/log-batch");
        let metrics = batches.filter_map(|(_, it)| it["metrics"].as_array());
        let one = |it: &Value| (it["step"].as_u64().unwrap(), it["key"].to_string());
        metrics.flatten().map(one).collect()
    }

    /// A run of some steps: how many errors it had, and the last of them.
    fn track(config: &Mlflow, n_steps: usize) -> (usize, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut sender = start(config, dir.path(), 0);
        let mut errors = Vec::new();
        for step in 1..=n_steps {
            errors.extend(sender.scalars(step, &[("loss", 0.5)]).err());
        }
        errors.extend(sender.finish(End::Finished).err());
        let last = errors.last().map(ToString::to_string).unwrap_or_default();
        (errors.len(), last)
    }

    #[test]
    fn numbers_arrive_once_and_a_run_that_is_taken_up_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (config, asked) = serve(well);
        let mut sender = start(&config, dir.path(), 0);
        for step in 1..=3 {
            sender.scalars(step, &[("loss", 0.5), ("acc", f64::NAN)]).unwrap();
        }
        sender.finish(End::Stopped).unwrap();
        let loss = "\"loss\"".to_owned();
        assert_eq!(numbers(&asked), [1, 2, 3].map(|it| (it, loss.clone())));
        let last = asked.lock().unwrap().last().unwrap().1.clone();
        assert_eq!((&last["run_id"], &last["status"]), (&json!("r1"), &json!("KILLED")));
        let params = asked.lock().unwrap().iter().find_map(|(_, it)| it.get("params").cloned());
        let want =
            json!([{ "key": "head.kind", "value": "joint" }, { "key": "seed", "value": "7" }]);
        let mut params = params.unwrap().as_array().unwrap().clone();
        params.sort_by_key(|it| it["key"].to_string());
        assert_eq!(json!(params), want);

        // The server has 3 steps, the run has done 5, and goes on from there.
        asked.lock().unwrap().clear();
        let table = "step,loss,acc\n1,0.5,\n2,0.5,\n3,0.5,\n4,0.5,\n5,0.5,\n6,0.5,\n";
        std::fs::write(dir.path().join("metrics.csv"), table).unwrap();
        let mut sender = start(&config, dir.path(), 5);
        sender.scalars(6, &[("loss", 0.5)]).unwrap();
        sender.finish(End::Finished).unwrap();
        assert_eq!(numbers(&asked), [4, 5, 6].map(|it| (it, loss.clone())));
        let paths: Vec<_> = asked.lock().unwrap().iter().map(|it| it.0.clone()).collect();
        assert!(!paths.contains(&"runs/create".to_owned()), "{paths:?}");
    }

    #[test]
    fn a_server_that_is_not_there_is_said_and_not_waited_for() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = Mlflow { uri: format!("http://{free}"), ..Mlflow::default() };
        let began = Instant::now();
        let (n_errors, last) = track(&config, 1000);
        assert_eq!(n_errors, 1);
        assert!(last.contains(&config.uri) && last.contains("start it"), "{last}");
        assert!(began.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_server_that_never_answers_is_not_waited_for() {
        let (config, _) = serve(|_| None);
        let began = Instant::now();
        let (n_errors, last) = track(&config, QUEUE + 10);
        assert!(n_errors >= 1 && last.contains("cannot be reached"), "{n_errors}: {last}");
        assert!(began.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_server_that_falls_silent_is_not_waited_for_longer_than_said() {
        let (config, _) = serve(|path| match path {
            "runs/log-batch" => None,
            other => well(other),
        });
        let began = Instant::now();
        let (n_errors, last) = track(&config, 10);
        assert!(n_errors == 1 && last.contains("cannot be reached"), "{n_errors}: {last}");
        assert!(began.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn a_server_in_trouble_is_asked_again_and_then_left_alone() {
        let (config, asked) = serve(|path| match path {
            "runs/log-batch" => Some((500, json!({ "message": "the database is locked" }))),
            other => well(other),
        });
        let dir = tempfile::tempdir().unwrap();
        let mut sender = start(&config, dir.path(), 0);
        sender.scalars(1, &[("loss", 0.5)]).unwrap();
        let err = sender.finish(End::Finished).unwrap_err().to_string();
        assert!(err.contains("answered with 500: the database is locked"), "{err}");
        let asked = asked.lock().unwrap();
        assert_eq!(asked.iter().filter(|(path, _)| path == "runs/log-batch").count(), 4);
    }
}
