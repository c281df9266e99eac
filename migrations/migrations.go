// Package migrations holds the steps: the schemas that pepdbagent released, one after the
// other, and this project's own on top. Step NNNNNN_name is three files: .up.sql leads to
// it from the step before, .down.sql leads back, and .schema.txt is the shape it leaves
// behind. A known variant of that shape is a further NNNNNN_name.variant.schema.txt.
package migrations

import "embed"

// FS holds the files of every step.
//
//go:embed *.up.sql *.down.sql *.schema.txt
var FS embed.FS
