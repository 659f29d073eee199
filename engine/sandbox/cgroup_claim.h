/* cgroup_claim.h - whose a group is. An engine holds a lock (flock) on each folder that it
 * made, for as long as it lives: whoever gets that lock knows that its maker is dead. The
 * lock is on the kernel's inode, so it holds between pid and mount namespaces, where
 * process ids say nothing, and it cannot be left behind by a kill.
 *
 * A note in the user's run directory tells where an engine's groups are: they are found by
 * a later engine of that user that started in quite another group. Thread: one. */
#ifndef KILN_SANDBOX_CGROUP_CLAIM_H
#define KILN_SANDBOX_CGROUP_CLAIM_H

#include <stdbool.h>

/* v2: ends the name of the group that the engine itself moves to, out of its groups' way. */
#define KILN_CGROUP_LEAF ".engine"

/* Makes `name` below `parent` and locks it; a descriptor to be kept, or -errno: -EEXIST when
 * it is there already. */
int kiln_cgroup_claim(int parent, const char *name);
/* "kiln-PID-START", or that of a v2 engine's leaf. */
bool kiln_cgroup_is_engines(const char *name);
/* Takes the lock of a folder whose engine is dead: a descriptor to be closed once it is
 * removed; -EWOULDBLOCK while the engine lives. */
int kiln_cgroup_take_over(int parent, const char *name);

/* Where notes are: /run/kiln, or $XDG_RUNTIME_DIR/kiln of an ordinary user. A
 * descriptor of the folder, made if need be; or -errno. */
int kiln_cgroup_notes_open(void);
/* `lines`: absolute paths of folders, one a line. 0 or -errno. */
int kiln_cgroup_note_write(int notes, const char *name, const char *lines);
/* Calls back for each path of each note that is not named `own`; a note of which `gone` said
 * true for every path is removed. */
void kiln_cgroup_notes_each(int notes, const char *own,
                            bool (*gone)(void *user, const char *path), void *user);

#endif
