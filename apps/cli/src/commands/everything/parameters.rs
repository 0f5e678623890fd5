//! The generator's parameters as arguments, made from the library's own table.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};
use samovar::automatic::{AutomaticOptions, PARAMETERS};
use samovar::{CATALOGUE, Recommendations};
use serde_json::{Map, Value};

use crate::failure::usage;
use crate::inputs;
use crate::settings::Settings;

/// Largest file of points that is read.
const MAX_GRIDS_BYTES: u64 = 64 << 20;

/// Name of the one parameter that is no number.
const POINT_GRIDS: &str = "point_grids";
/// Name of the one that stands for several.
const FAST_MODE: &str = "fast_mode";

/// What the command line said; everything else is the model's default.
#[derive(Debug, Clone)]
pub struct Parameters {
    given: Vec<(&'static str, String)>,
    point_grids: Option<PathBuf>,
    is_fast: bool,
}

impl clap::Args for Parameters {
    fn augment_args(command: Command) -> Command {
        let upstream = AutomaticOptions::default();
        let recommended: Vec<(&str, AutomaticOptions)> = CATALOGUE
            .iter()
            .map(|entry| (entry.id, AutomaticOptions::recommended(&entry.config().recommendations())))
            .collect();
        let command = PARAMETERS.iter().fold(command, |command, parameter| {
            let default = (parameter.get)(&upstream);
            let own: String = recommended
                .iter()
                .map(|(model, options)| (model, (parameter.get)(options)))
                .filter(|(_, value)| *value != default)
                .map(|(model, value)| format!("; {model}: {value}"))
                .collect();
            let help = parameter.help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            let help = help.trim_end_matches('.');
            let parse = move |text: &str| -> samovar::Result<String> {
                AutomaticOptions::default().set(parameter.name, text)?;
                Ok(text.to_owned())
            };
            let argument = Arg::new(parameter.name)
                .long(flag(parameter.name))
                .value_name("N")
                .allow_hyphen_values(true)
                .help(format!("{help}; {} [default: {default}{own}]", parameter.range))
                .value_parser(parse);
            command.arg(argument)
        });
        let grids = Arg::new(POINT_GRIDS)
            .long(flag(POINT_GRIDS))
            .value_name("FILE.json")
            .help("Points to ask instead of a grid: one list of [x, y] in 0..1 for the image, then one per layer of crops")
            .conflicts_with("points_per_side")
            .value_parser(value_parser!(PathBuf));
        let fast = Arg::new(FAST_MODE).long(flag(FAST_MODE)).action(ArgAction::SetTrue).help(format!(
            "Fewer questions, for videos and first looks: {}; what is given beside it counts",
            AutomaticOptions::FAST_MODE
        ));
        command.arg(fast).arg(grids)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// `points_per_side` as `points-per-side`. Lives as long as the program, as clap's names do.
fn flag(name: &str) -> &'static str {
    name.replace('_', "-").leak()
}

impl FromArgMatches for Parameters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &'static str| Some((name, matches.get_one::<String>(name)?.clone()));
        Ok(Self {
            given: PARAMETERS.iter().filter_map(|parameter| given(parameter.name)).collect(),
            point_grids: matches.get_one::<PathBuf>(POINT_GRIDS).cloned(),
            is_fast: matches.get_flag(FAST_MODE),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Parameters {
    /// The model's defaults with what settings say and what was given.
    pub fn options(&self, recommended: &Recommendations, settings: &Settings) -> Result<AutomaticOptions> {
        let mut options = AutomaticOptions::recommended(recommended);
        options.points_per_batch = settings.count("points_per_batch").unwrap_or(options.points_per_batch);
        if self.is_fast {
            options = options.fast();
        }
        for (name, text) in &self.given {
            options.set(name, text)?;
        }
        if let Some(path) = &self.point_grids {
            let bytes =
                inputs::read_small(path, MAX_GRIDS_BYTES, "--point-grids takes a JSON file of points")?;
            let grids = serde_json::from_slice(&bytes).map_err(|error| {
                usage(format!(
                    "\"{}\": {error}; expected lists of points, as [[[0.5, 0.5], [0.1, 0.9]]]",
                    path.display()
                ))
            })?;
            options.point_grids = Some(grids);
        }
        options.check()?;
        Ok(options)
    }

    /// Whether pixels are copied for it: into crops, or to look for small regions.
    pub fn copies_pixels(&self) -> bool {
        let is_given = |(name, text): &(&str, String)| {
            ["crop_n_layers", "min_mask_region_area"].contains(name) && text.trim() != "0"
        };
        self.given.iter().any(is_given)
    }

    /// The file of points, if one was given.
    pub fn point_grids(&self) -> Option<&Path> {
        self.point_grids.as_deref()
    }

    /// What was given, for the record of what made a folder of results.
    pub fn to_json(&self) -> Value {
        let mut given: Map<String, Value> =
            self.given.iter().map(|(name, text)| ((*name).to_owned(), text.trim().into())).collect();
        // No mask depends on it.
        given.remove("points_per_batch");
        if self.is_fast {
            given.insert(FAST_MODE.to_owned(), true.into());
        }
        if let Some(path) = &self.point_grids {
            given.insert(POINT_GRIDS.to_owned(), path.display().to_string().into());
        }
        given.into()
    }
}
