package ops

import "time"

// Backup answers a backup of the metadata, in the form of coordinator/backup.
var Backup = declare[None, None](Spec{Name: "backup", Kind: Bytes, Timeout: 24 * time.Hour})
