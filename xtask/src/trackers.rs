//! `cargo xtask trackers`: checks that TensorBoard, wandb and MLflow read the values of `metrics.csv` from a
//! run, also if the run was killed and resumed.
//!
//! `tests/peers/trackers.py` reads the runs, with the official library of each tracker.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::peers::Peers;

/// Time limit for starting the server.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// The step after which a run is killed: not a checkpoint's, so that some steps are repeated.
const KILLED_AFTER: usize = 38;

const EXPERIMENT: &str = r#"
track = [
    { kind = "csv" },
    { kind = "jsonl" },
    { kind = "tensorboard" },
    { kind = "wandb", tags = ["a tag", "another"] },
    { kind = "mlflow", uri = "http://127.0.0.1:PORT" },
]

[data]
source = { kind = "synthetic_people", n_people = 60, n_test = 10, size = [64, 48], seed = 1 }

[augment]
train = [{ kind = "random_crop", size = [56, 44] }, { kind = "horizontal_flip" }]
eval  = [{ kind = "center_crop", size = [56, 44] }]

[train]
total      = "60 steps"
batch_size = 16

[eval]
every = "10 steps"

[checkpoint]
every = "7 steps"
"#;

/// Trains an uninterrupted run, and one that is killed and resumed, and checks both.
pub(crate) fn check(root: &Path, program: &Path, peers: &Peers) -> anyhow::Result<()> {
    let (python, dir) = (peers.python.as_path(), peers.dir());
    let script = root.join("tests/peers/trackers.py");
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let server = Server::start(python, &script, &port, dir)?;

    fs::write(dir.join("experiment.toml"), EXPERIMENT.replace("PORT", &port))?;
    let train = |args: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(dir).arg("train").args(args).stdout(Stdio::null());
        command
    };
    let set = ["experiment.toml", "--set"];
    ensure!(
        train(&[&set[..], &["run.name=whole"]].concat()).status()?.success(),
        "training failed"
    );
    let mut killed = train(&[&set[..], &["run.name=killed"]].concat()).spawn()?;
    let steps = || {
        let table = fs::read_to_string(dir.join("runs/killed/metrics.csv")).unwrap_or_default();
        table.lines().count().saturating_sub(1)
    };
    while steps() < KILLED_AFTER && killed.try_wait()?.is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    killed.kill()?;
    killed.wait()?;
    println!("one run is complete; the other was killed after step {}", steps());
    let resume = ["--resume", "runs/killed"];
    ensure!(train(&resume).status()?.success(), "resuming failed");

    for name in ["whole", "killed"] {
        println!("\n{name}");
        let mut read = Command::new(python);
        read.arg(&script).arg("read").arg(dir.join("runs").join(name));
        ensure!(read.status()?.success(), "some values differ");
    }
    let table = |name: &str| fs::read(dir.join("runs").join(name).join("metrics.csv"));
    ensure!(table("whole")? == table("killed")?, "the tables of the two runs differ");
    println!("\nthe tables of the two runs are identical, byte for byte");
    drop(server);
    Ok(())
}

/// Returns whether the server is running.
fn is_healthy(port: &str) -> bool {
    let request = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response).map(|_| response)
    };
    request().is_ok_and(|it| it.contains(" 200 "))
}

/// An MLflow server, which is killed when dropped.
struct Server(Child);

impl Server {
    fn start(python: &Path, script: &Path, port: &str, dir: &Path) -> anyhow::Result<Server> {
        let log = fs::File::create(dir.join("server.log"))?;
        let mut command = Command::new(python);
        command.arg(script).args(["server", port]).arg(dir);
        command.stdout(log.try_clone()?).stderr(log);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().with_context(|| python.display().to_string())?;
        let mut server = Server(child);
        let began = Instant::now();
        while !is_healthy(port) {
            let log = || fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            ensure!(server.0.try_wait()?.is_none(), "the MLflow server exited: {}", log());
            ensure!(began.elapsed() < STARTS_WITHIN, "the MLflow server does not start: {}", log());
            thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Kills the whole process group: a graceful stop of the server's children would wait forever.
        drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status());
        drop(self.0.wait());
    }
}
