use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Claim, Claims, Mark, folder, is_overtaken, path};

const SHORT: Duration = Duration::from_millis(120);
const LONG: Duration = Duration::from_secs(600);

fn take(run: &Path, timeout: Duration) -> Option<Claim> {
    Claims::new(run, timeout).take(3).unwrap()
}

/// A claim of another machine, whose locks nobody sees, that does nothing more.
fn abandon(run: &Path, token: u64, every: f64) {
    fs::create_dir_all(folder(run)).unwrap();
    let owner = Some("process 17 on another-machine".to_owned());
    let mark = Mark { every, place: Some("another-machine/1".to_owned()), owner };
    fs::write(path(&folder(run), 3, token), mark.text(5)).unwrap();
}

/// Takes a fold as soon as that is possible.
fn take_soon(claims: &mut Claims) -> (Claim, Duration) {
    let began = Instant::now();
    loop {
        if let Some(it) = claims.take(3).unwrap() {
            return (it, began.elapsed());
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the claim never died");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_fold_is_claimed_by_one_of_many() {
    let dir = tempfile::tempdir().unwrap();
    let (n_claimed, held) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                if let Some(it) = take(dir.path(), LONG) {
                    n_claimed.fetch_add(1, Ordering::Relaxed);
                    held.lock().unwrap().push(it);
                }
            });
        }
    });
    assert_eq!(n_claimed.into_inner(), 1);
    assert_eq!(held.lock().unwrap()[0].token(), 1);
    // Other folds are free.
    assert!(Claims::new(dir.path(), LONG).take(13).unwrap().is_some());
}

#[test]
fn a_released_claim_is_taken_at_once_with_a_higher_token() {
    let dir = tempfile::tempdir().unwrap();
    let first = take(dir.path(), LONG).unwrap();
    assert!(take(dir.path(), LONG).is_none());
    drop(first);
    let second = take(dir.path(), LONG).unwrap();
    assert_eq!((second.fold(), second.token(), second.dead()), (3, 2, None));
}

#[test]
fn a_claim_without_heartbeat_dies_by_the_clock_of_the_taker() {
    let dir = tempfile::tempdir().unwrap();
    abandon(dir.path(), 7, 0.001);
    // Its times are never looked at.
    let file = fs::File::options().append(true).open(path(&folder(dir.path()), 3, 7)).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let mut claims = Claims::new(dir.path(), SHORT);
    assert!(claims.take(3).unwrap().is_none());
    let (claim, waited) = take_soon(&mut claims);
    assert_eq!(claim.token(), 8);
    let dead = claim.dead().unwrap();
    let begin = "process 17 on another-machine, whose heartbeat has been missing for 0.";
    assert!(dead.starts_with(begin) || waited > Duration::from_millis(900), "{dead}");
    assert!(waited >= SHORT / 2, "{waited:?}");
}

#[test]
fn a_slow_heartbeat_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    // Every 0.2 s: three may be missing, 0.6 s, although the taker waits for less by itself.
    abandon(dir.path(), 1, 0.2);
    let mut claims = Claims::new(dir.path(), Duration::from_millis(1));
    assert!(claims.take(3).unwrap().is_none());
    assert!(take_soon(&mut claims).1 >= Duration::from_millis(400));
}

#[test]
fn a_heartbeat_keeps_a_claim_alive() {
    let dir = tempfile::tempdir().unwrap();
    let held = take(dir.path(), SHORT).unwrap();
    // As another machine sees it: without the lock.
    let mut claims = Claims::new(dir.path(), Duration::from_secs(1));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        assert!(claims.take(3).unwrap().is_none());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(!held.is_lost());
}

#[test]
fn an_owner_notices_that_it_is_overtaken() {
    let dir = tempfile::tempdir().unwrap();
    let stale = take(dir.path(), SHORT).unwrap();
    assert!(!stale.is_lost() && !stale.was_lost());
    abandon(dir.path(), 2, 1.0);
    assert!(stale.is_lost());
    let began = Instant::now();
    while !stale.was_lost() {
        assert!(began.elapsed() < Duration::from_secs(60), "the heartbeat does not notice it");
        thread::sleep(Duration::from_millis(5));
    }
    // Its release does not free the fold.
    drop(stale);
    assert!(take(dir.path(), LONG).is_none());
}

#[test]
fn claims_that_were_removed_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let claim = take(dir.path(), LONG).unwrap();
    fs::remove_dir_all(folder(dir.path())).unwrap();
    assert!(claim.is_lost());
    assert!(is_overtaken(&folder(dir.path()), 3, 1));
}

#[test]
#[cfg(target_os = "linux")]
fn a_claim_of_a_killed_process_on_this_machine_is_dead_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let held = take(dir.path(), LONG).unwrap();
    let at = path(&folder(dir.path()), 3, 1);
    let text = fs::read_to_string(&at).unwrap();
    assert!(take(dir.path(), LONG).is_none());
    drop(held);
    // As the killed process leaves it: with its last heartbeat, and not locked.
    fs::write(&at, text).unwrap();
    let next = take(dir.path(), LONG).unwrap();
    assert_eq!(next.token(), 2);
    let dead = next.dead().unwrap();
    let begin = format!("process {}", std::process::id());
    assert!(dead.starts_with(&begin) && dead.ends_with(", which has ended"), "{dead}");
}

#[test]
fn a_content_that_is_being_written_is_alive() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["", "beat 00", "beat 0000000001 every", "beat 0000000001 every inf on"] {
        fs::create_dir_all(folder(dir.path())).unwrap();
        fs::write(path(&folder(dir.path()), 3, 1), text).unwrap();
        assert!(take(dir.path(), LONG).is_none(), "{text}");
    }
    let [place, owner] = ["a/1", "process 17 on a"].map(|it| Some(it.to_owned()));
    let text = Mark { every: 2.5, place: place.clone(), owner: owner.clone() }.text(9);
    let mark = Mark::parse(&text);
    assert_eq!((mark.every, mark.place, mark.owner), (2.5, place.clone(), owner.clone()));
    // Without locks; and as earlier versions write it.
    let mark = Mark::parse(&Mark { every: 2.5, place: None, owner: owner.clone() }.text(9));
    assert_eq!((mark.every, mark.place, mark.owner), (2.5, None, owner));
    let mark = Mark::parse("beat 0000000009 every 2.5 on a/1\n");
    assert_eq!((mark.every, mark.place, mark.owner), (2.5, place, None));
}
