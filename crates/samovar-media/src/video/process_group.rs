//! Children that Ctrl-C in a terminal does not reach: whoever started them decides how they end.

use std::process::Command;

/// The command, in a group of its own where the system has groups.
pub(super) fn own_group(command: &mut Command) -> &mut Command {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.process_group(0);
    }
    command
}
