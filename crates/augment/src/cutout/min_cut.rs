//! The minimum cut of an image's pixels into two sides.
//!
//! Each pixel has a cost on either side, and each pair of neighbours has a cost if it is separated; the
//! labelling of the lowest total cost is a minimum cut, found by a maximum flow.
//! Boykov and Kolmogorov, "An experimental comparison of min-cut/max-flow algorithms for energy
//! minimization in vision", 2004: two search trees grow from the source and the sink until they touch; flow
//! is augmented along the path, and the orphaned branches are adopted by new parents.
//! Costs are integers, so that the result is exact and the same on every machine.

use std::collections::VecDeque;

/// The neighbours ahead: right, and the three below; the opposite direction of `it` is `7 - it`.
pub(super) const AHEAD: [[isize; 2]; 4] = [[0, 1], [1, -1], [1, 0], [1, 1]];

/// A grid of pixels, each linked to its eight neighbours. It has a border of unlinked pixels, so that every
/// pixel has eight neighbours.
pub(super) struct Grid {
    size: [usize; 2],
    /// The index offset of each neighbour.
    steps: [isize; 8],
    nodes: Vec<Node>,
    active: VecDeque<usize>,
    orphans: VecDeque<usize>,
    /// The number of paths found so far.
    time: u32,
}

#[derive(Clone)]
struct Node {
    /// The residual capacity to each neighbour.
    residual: [i32; 8],
    /// The residual capacity from the source if positive, to the sink if negative.
    terminal: i32,
    side: Side,
    parent: Parent,
    /// The time at which `distance` was valid.
    time: u32,
    /// The number of steps to the tree's root.
    distance: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Free,
    Source,
    Sink,
}

#[derive(Clone, Copy, PartialEq)]
enum Parent {
    None,
    Terminal,
    Neighbour(u8),
}

impl Grid {
    /// Creates a grid of `[height, width]` pixels without costs.
    pub(super) fn new(size: [usize; 2]) -> Grid {
        let row = size[1] as isize + 2;
        let node = Node {
            residual: [0; 8],
            terminal: 0,
            side: Side::Free,
            parent: Parent::None,
            time: 0,
            distance: 0,
        };
        Grid {
            size,
            steps: [-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1],
            nodes: vec![node; (size[0] + 2) * (size[1] + 2)],
            active: VecDeque::new(),
            orphans: VecDeque::new(),
            time: 0,
        }
    }

    fn node(&self, [y, x]: [usize; 2]) -> usize {
        (y + 1) * (self.size[1] + 2) + x + 1
    }

    fn neighbour(&self, node: usize, direction: usize) -> usize {
        node.wrapping_add_signed(self.steps[direction])
    }

    /// Sets the cost of the pixel at `[row, column]` on either side, 0 or more.
    pub(super) fn cost(&mut self, at: [usize; 2], inside: i32, outside: i32) {
        let node = self.node(at);
        // The common part of both costs does not affect the cut.
        self.nodes[node].terminal = outside - inside;
    }

    /// Sets the cost of separating the pixel at `[row, column]` from its neighbour `AHEAD[ahead]`.
    pub(super) fn link(&mut self, at: [usize; 2], ahead: usize, cost: i32) {
        let node = self.node(at);
        let neighbour = self.neighbour(node, 4 + ahead);
        self.nodes[node].residual[4 + ahead] = cost;
        self.nodes[neighbour].residual[3 - ahead] = cost;
    }

    /// Computes the cut. Returns whether each pixel, row by row, is inside.
    pub(super) fn cut(mut self) -> Vec<bool> {
        for idx in 0..self.nodes.len() {
            let node = &mut self.nodes[idx];
            if node.terminal != 0 {
                node.side = if node.terminal > 0 { Side::Source } else { Side::Sink };
                (node.parent, node.distance) = (Parent::Terminal, 1);
                self.active.push_back(idx);
            }
        }
        while let Some(&idx) = self.active.front() {
            match self.grow(idx) {
                Some((from, direction)) => {
                    self.time += 1;
                    self.augment(from, direction);
                    while let Some(orphan) = self.orphans.pop_front() {
                        self.adopt(orphan);
                    }
                }
                None => drop(self.active.pop_front()),
            }
        }
        let [h, w] = self.size;
        let at = |idx: usize| self.nodes[self.node([idx / w, idx % w])].side == Side::Source;
        (0..h * w).map(at).collect()
    }

    /// The residual capacity between a node of a tree and its neighbour, away from the root.
    fn outward(&self, side: Side, node: usize, direction: usize) -> i32 {
        match side {
            Side::Source => self.nodes[node].residual[direction],
            _ => self.nodes[self.neighbour(node, direction)].residual[7 - direction],
        }
    }

    /// Growth stage: adds free neighbours to the tree, until a node of the other tree is met. Returns the
    /// edge from the source's tree to the sink's.
    fn grow(&mut self, idx: usize) -> Option<(usize, usize)> {
        let Node { side, time, distance, .. } = self.nodes[idx];
        if side == Side::Free {
            return None;
        }
        for direction in 0..8 {
            if self.outward(side, idx, direction) == 0 {
                continue;
            }
            let neighbour = self.neighbour(idx, direction);
            let it = &mut self.nodes[neighbour];
            let is_free = it.side == Side::Free;
            if is_free || (it.side == side && it.time <= time && it.distance > distance) {
                // A shorter path to the root replaces the current one.
                (it.side, it.parent) = (side, Parent::Neighbour(7 - direction as u8));
                (it.time, it.distance) = (time, distance + 1);
                if is_free {
                    self.active.push_back(neighbour);
                }
            } else if it.side != side {
                return Some(match side {
                    Side::Source => (idx, direction),
                    _ => (neighbour, 7 - direction),
                });
            }
        }
        None
    }

    /// Augmentation stage: sends the maximum flow from the source through an edge to the sink.
    fn augment(&mut self, from: usize, direction: usize) {
        let to = self.neighbour(from, direction);
        let mut flow = self.nodes[from].residual[direction];
        for start in [from, to] {
            let mut idx = start;
            while let Parent::Neighbour(up) = self.nodes[idx].parent {
                let up = usize::from(up);
                flow = flow.min(self.inward(idx, up));
                idx = self.neighbour(idx, up);
            }
            flow = flow.min(self.nodes[idx].terminal.abs());
        }
        self.nodes[from].residual[direction] -= flow;
        self.nodes[to].residual[7 - direction] += flow;
        for start in [from, to] {
            let mut idx = start;
            while let Parent::Neighbour(up) = self.nodes[idx].parent {
                let up = usize::from(up);
                let parent = self.neighbour(idx, up);
                let gain = if self.nodes[idx].side == Side::Source { flow } else { -flow };
                self.nodes[idx].residual[up] += gain;
                self.nodes[parent].residual[7 - up] -= gain;
                if self.inward(idx, up) == 0 {
                    self.orphan(idx);
                }
                idx = parent;
            }
            let node = &mut self.nodes[idx];
            node.terminal -= node.terminal.signum() * flow;
            if node.terminal == 0 {
                self.orphan(idx);
            }
        }
    }

    /// The residual capacity between a node of a tree and its neighbour, coming from the root.
    fn inward(&self, node: usize, direction: usize) -> i32 {
        match self.nodes[node].side {
            Side::Source => self.nodes[self.neighbour(node, direction)].residual[7 - direction],
            _ => self.nodes[node].residual[direction],
        }
    }

    fn orphan(&mut self, idx: usize) {
        self.nodes[idx].parent = Parent::None;
        self.orphans.push_back(idx);
    }

    /// Adoption stage: finds the nearest new parent in the same tree, or frees the node and orphans its
    /// children.
    fn adopt(&mut self, idx: usize) {
        let side = self.nodes[idx].side;
        let mut nearest = None;
        for direction in 0..8 {
            let neighbour = self.neighbour(idx, direction);
            if self.nodes[neighbour].side == side
                && self.inward(idx, direction) > 0
                && let Some(distance) = self.distance(neighbour)
                && nearest.is_none_or(|(least, _)| distance < least)
            {
                nearest = Some((distance, direction));
            }
        }
        if let Some((distance, direction)) = nearest {
            let node = &mut self.nodes[idx];
            node.parent = Parent::Neighbour(direction as u8);
            (node.time, node.distance) = (self.time, distance + 1);
            return;
        }
        for direction in 0..8 {
            let neighbour = self.neighbour(idx, direction);
            if self.nodes[neighbour].side != side {
                continue;
            }
            if self.inward(idx, direction) > 0 {
                self.active.push_back(neighbour);
            }
            if self.nodes[neighbour].parent == Parent::Neighbour(7 - direction as u8) {
                self.orphan(neighbour);
            }
        }
        self.nodes[idx].side = Side::Free;
    }

    /// The distance of a node from its tree's root; `None` if an orphan is in between. The path is marked, so
    /// that it is followed once per augmentation.
    fn distance(&mut self, start: usize) -> Option<u32> {
        let (mut idx, mut steps) = (start, 0);
        let distance = loop {
            let node = &self.nodes[idx];
            if node.time == self.time && node.parent != Parent::None {
                break steps + node.distance;
            }
            match node.parent {
                Parent::Neighbour(up) => idx = self.neighbour(idx, usize::from(up)),
                Parent::Terminal => break steps + 1,
                Parent::None => return None,
            }
            steps += 1;
        };
        let (mut idx, mut left) = (start, distance);
        while self.nodes[idx].time != self.time {
            (self.nodes[idx].time, self.nodes[idx].distance) = (self.time, left);
            left -= 1;
            match self.nodes[idx].parent {
                Parent::Neighbour(up) => idx = self.neighbour(idx, usize::from(up)),
                _ => break,
            }
        }
        Some(distance)
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use rand::Rng as _;

    use super::{AHEAD, Grid};

    #[test]
    fn no_other_labelling_has_a_lower_cost() {
        let mut rng = Seed(0).stream("test");
        for round in 0..300 {
            let [h, w] = [[3, 4], [4, 3], [1, 9], [9, 1], [2, 5], [1, 1]][round % 6];
            // Few distinct values give equal costs, and paths that saturate at several edges at once.
            let most = if round % 2 == 0 { 4 } else { 1000 };
            let costs: Vec<[i32; 2]> =
                (0..h * w).map(|_| [0; 2].map(|_| rng.random_range(0..=most))).collect();
            let mut links = Vec::new();
            let mut grid = Grid::new([h, w]);
            for (idx, cost) in costs.iter().enumerate() {
                let [y, x] = [idx / w, idx % w];
                grid.cost([y, x], cost[0], cost[1]);
                for (ahead, [down, right]) in AHEAD.into_iter().enumerate() {
                    let (to_y, to_x) = (y as isize + down, x as isize + right);
                    if to_y < h as isize && (0..w as isize).contains(&to_x) {
                        let cost = rng.random_range(0..=most / 2);
                        grid.link([y, x], ahead, cost);
                        links.push((idx, to_y as usize * w + to_x as usize, cost));
                    }
                }
            }
            let total = |inside: &dyn Fn(usize) -> bool| {
                let pixels = (0..h * w).map(|it| costs[it][usize::from(!inside(it))]);
                let divided = links.iter().filter(|it| inside(it.0) != inside(it.1));
                pixels.sum::<i32>() + divided.map(|it| it.2).sum::<i32>()
            };
            let cut = grid.cut();
            let least = (0..1_u32 << (h * w)).map(|bits| total(&|it| bits >> it & 1 == 1)).min();
            assert_eq!(Some(total(&|it| cut[it])), least, "round {round}: {h}x{w}");
        }
    }
}
