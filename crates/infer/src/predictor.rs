//! The predictor: a bundle's answers for pictures, as joint probabilities.

use std::sync::Arc;

use augment::Mixing;
use base::{
    Seed, Task,
    task::{Answer, Unanswered},
};
use candle::Device;
use data::{Content, Load, LoadError, Loader, Remembered};
use ops::{Pass, Rows};

use crate::bundle::{Bundle, Member};

/// Answers for pictures.
pub struct Predictor {
    task: Task,
    members: Vec<Member>,
    device: Device,
}

/// What is said of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// The probabilities of the joint classes, `[n][class]`.
    pub probabilities: Vec<Vec<f64>>,
    /// The age in years, the mean over the members, where every member has a head that says years.
    pub years: Option<Vec<f64>>,
}

/// What one member's heads say of a batch.
struct Said {
    answers: Vec<Vec<Answer>>,
    /// Where a head says years.
    years: Option<Vec<f64>>,
}

/// How pictures are served; changes nothing of the answers.
#[derive(Clone, Debug)]
pub struct Serving {
    /// How many pictures the network sees at once.
    pub batch_size: usize,
    /// Threads that load pictures.
    pub n_loaders: usize,
    /// Batches that wait at most.
    pub n_ahead: usize,
    /// What remembers what is worked out of the pictures on the way.
    pub memory: Option<Remembered>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// A picture could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The members leave a factor open.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The network answers with something that is no number.
    #[error(
        "the network's answer for {0} is no number: its weights are damaged, or it has diverged"
    )]
    NotFinite(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

impl Predictor {
    /// A predictor with a bundle's members.
    pub fn new(bundle: Bundle, device: &Device) -> Predictor {
        Predictor { task: bundle.task, members: bundle.members, device: device.clone() }
    }

    /// What the classes mean.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What is said of each picture.
    ///
    /// `progress` is told how many pictures of how many are done, all members counted.
    pub fn predict(
        &self,
        pictures: &Arc<[(String, Content)]>,
        serving: Serving,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Answers, PredictError> {
        let n_all = pictures.len() * self.members.len();
        let mut answers: Vec<Vec<Vec<Answer>>> = vec![Vec::new(); pictures.len()];
        let mut years = Some(vec![0.0; pictures.len()]);
        let mut n_done = 0;
        for member in &self.members {
            let order: Vec<usize> = (0..pictures.len()).collect();
            let loader = Loader::start(Load {
                pictures: Arc::clone(pictures),
                batches: order.chunks(serving.batch_size.max(1)).map(<[usize]>::to_vec).collect(),
                pack: None,
                pipeline: Arc::new(member.pipeline.clone()),
                memory: serving.memory.clone(),
                mixing: Mixing::default(),
                // An evaluation pipeline draws nothing.
                seed: Seed(0),
                stream: "serve".to_owned(),
                first_batch: 0,
                n_threads: serving.n_loaders,
                n_ahead: serving.n_ahead,
            });
            for batch in loader {
                let batch = batch?;
                let rows =
                    Rows { pictures: &batch.pictures, size: batch.size, collages: &batch.collages };
                let Said { answers: said, years: own_years } = self.ask(member, rows)?;
                for (&example, said) in batch.examples.iter().zip(said) {
                    let is_finite = |it: &Answer| it.probabilities.iter().all(|p| p.is_finite());
                    if !said.iter().all(is_finite) {
                        return Err(PredictError::NotFinite(pictures[example].0.clone()));
                    }
                    answers[example].push(said);
                }
                if let (Some(years), Some(own)) = (&mut years, own_years) {
                    let n = self.members.len() as f64;
                    batch.examples.iter().zip(own).for_each(|(&it, own)| years[it] += own / n);
                } else {
                    years = None;
                }
                n_done += batch.examples.len();
                progress(n_done, n_all);
            }
        }
        let probabilities =
            answers.iter().map(|it| self.task.join(it)).collect::<Result<_, _>>()?;
        Ok(Answers { probabilities, years })
    }

    /// What one member's heads say of each row.
    fn ask(&self, member: &Member, rows: Rows<'_>) -> candle::Result<Said> {
        let statistics = member.pipeline.statistics;
        let n_rows = rows.collages.len();
        let xs = ops::normalise(rows, statistics.mean, statistics.std, &self.device)?;
        let mut said = Said { answers: vec![Vec::new(); n_rows], years: None };
        for output in member.model.forward(&xs, &Pass::Eval)? {
            for (said, answer) in
                said.answers.iter_mut().zip(output.answers()?.into_iter().flatten())
            {
                said.push(answer);
            }
            said.years = said.years.or(output.years()?);
        }
        Ok(said)
    }
}
