//! Small bundles, images, what is predicted for them without a server, and a client.

use std::{path::Path, rc::Rc, sync::Arc, time::Duration};

use augment::{Pipeline, StatisticsConfig, TransformConfig, ViewsConfig};
use base::{Seed, Task};
use candle::Device;
use data::Content;
use image::ImageFormat;
use infer::{Bundle, Member, Prediction, Predictor, Serving};
use models::{BackboneConfig, EfficientNet, HeadConfig, Model, ModelSpec};
use serde_json::{Value, json};
use serve::{Options, Server, Source};
use ureq::Agent;

use crate::encoded::encoded;

/// A fresh network for the competition's task.
pub(crate) fn bundle(seed: u64) -> Bundle {
    let backbone = EfficientNet { width: 0.25, depth: 0.3, ..EfficientNet::default() };
    let backbone = BackboneConfig::EfficientNet(backbone);
    let spec = ModelSpec { backbone, head: HeadConfig::default() };
    let task = Task::mask_gender_age();
    let model = Model::fresh(&spec, &task, Seed(seed), &Device::Cpu).unwrap();
    let statistics = StatisticsConfig::default().get().known().unwrap();
    let resize: TransformConfig = toml::from_str("kind = \"resize\"\nsize = [40, 32]").unwrap();
    let pipeline = Pipeline { ops: vec![resize.into()], statistics, max_pixels: 1_000_000 };
    Bundle::new(task.clone(), vec![Member::new(Rc::new(model), task, pipeline)])
}

/// Two networks with different views, a calibration, and scores for sets.
pub(crate) fn ensemble() -> Bundle {
    let views: ViewsConfig = toml::from_str("kind = \"flip\"").unwrap();
    let flipped = bundle(2).with_views(&views).unwrap();
    let named = vec![("a".to_owned(), bundle(1)), ("b".to_owned(), flipped)];
    let mut all = Bundle::join(named, &[0.25, 0.75]).unwrap();
    all.calibration = toml::from_str("kind = \"temperature\"\ntemperature = 0.5").unwrap();
    let scores =
        "n_groups = 99\nfolds = [{ scores = [0.2, 0.93, 0.97], weights = [0.5, 0.8, 0.98] }]";
    all.conformal = Some(toml::from_str(scores).unwrap());
    all
}

/// Images of many sizes and some formats.
pub(crate) fn images(n: usize) -> Vec<Vec<u8>> {
    let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp];
    let image = |idx: usize| {
        let side = |step: usize| 20 + (idx * step % 90) as u32;
        encoded(side(37), side(53), formats[idx % formats.len()])
    };
    (0..n).map(image).collect()
}

/// What the predictor of a saved bundle predicts for each image alone.
pub(crate) fn expected(dir: &Path, images: &[Vec<u8>], level: Option<f64>) -> Vec<Prediction> {
    let mut predictor = Predictor::new(Bundle::open(dir, &Device::Cpu).unwrap(), &Device::Cpu);
    if let Some(level) = level {
        predictor = predictor.with_sets(level).unwrap();
    }
    let content = |it: &Vec<u8>| (String::new(), Content::Memory(it.clone().into()));
    let images: Arc<[_]> = images.iter().map(content).collect::<Vec<_>>().into();
    let serving = Serving { batch_size: 1, num_workers: 1, prefetch: 1, cache: None };
    predictor.predict(&images, serving, &mut |_, _| {}).unwrap()
}

/// Starts a server of the bundles in some folders, on a free port.
///
/// - `edit`: changes the settings.
pub(crate) fn start(models: &[(&str, &Path)], edit: impl FnOnce(&mut Options)) -> Server {
    let source = |(name, dir): &(&str, &Path)| Source {
        name: (*name).to_owned(),
        dirs: vec![dir.to_path_buf()],
    };
    let mut options = Options::new(models.iter().map(source).collect());
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    options.linger = Duration::from_millis(200);
    options.poll = Duration::from_millis(20);
    edit(&mut options);
    Server::start(options).unwrap()
}

/// A client, which keeps its connection.
pub(crate) struct Client {
    agent: Agent,
    url: String,
    token: Option<&'static str>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|err| panic!("{err}: {}", self.text))
    }

    /// The JSON of a response that must have the status 200.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }
}

impl Client {
    pub(crate) fn new(server: &Server) -> Client {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .proxy(None)
            .build();
        let url = format!("http://{}", server.address());
        Client { agent: agent.into(), url, token: None }
    }

    pub(crate) fn with_token(self, token: &'static str) -> Client {
        Client { token: Some(token), ..self }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        reply(request.call()).unwrap()
    }

    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Reply {
        self.try_post(path, content_type, body).unwrap()
    }

    /// As [`post`](Self::post), where the server may be gone.
    pub(crate) fn try_post(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Reply, ureq::Error> {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        reply(request.content_type(content_type).send(body))
    }

    /// Predicts one image, whose bytes are the body.
    pub(crate) fn predict(&self, image: &[u8]) -> Reply {
        self.post("/predict", "image/*", image)
    }
}

fn reply(got: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Reply, ureq::Error> {
    let (parts, mut body) = got?.into_parts();
    let bytes = body.read_to_vec()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, bytes, text })
}

/// A form with files, and its content type.
pub(crate) fn form(files: &[(&str, &[u8])]) -> (&'static str, Vec<u8>) {
    let part = |(name, bytes): &(&str, &[u8])| {
        let head = format!(
            "--a-boundary\r\nContent-Disposition: form-data; name=\"image\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        [head.as_bytes(), bytes, b"\r\n"].concat()
    };
    let mut body: Vec<u8> = files.iter().flat_map(part).collect();
    body.extend(b"--a-boundary--\r\n");
    ("multipart/form-data; boundary=a-boundary", body)
}

/// The body of `/infer` for some images in base64.
pub(crate) fn infer_body(images: &[String]) -> Value {
    let n = images.len();
    json!({"inputs": [{"name": "image", "shape": [n], "datatype": "BYTES", "data": images}]})
}

/// Checks that the response of `/predict` for an image has the bits of a prediction.
#[track_caller]
pub(crate) fn check_same(got: &Value, want: &Prediction) {
    let probabilities = got["probabilities"].as_array().unwrap_or_else(|| panic!("{got}"));
    let bits = |it: &f64| it.to_bits();
    let of_got = probabilities.iter().map(|it| it["probability"].as_f64().unwrap().to_bits());
    assert!(of_got.eq(want.probabilities.iter().map(bits)), "{got} is not {want:?}");
    assert_eq!(got["index"], want.predicted);
    assert_eq!(got["number"].is_null(), want.number.is_none());
    let n_in_set = want.set.as_ref().map(Vec::len);
    assert_eq!(got.get("set").map(|it| it.as_array().unwrap().len()), n_in_set, "{got}");
}
