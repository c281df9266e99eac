// Floor is the least that a program can do that asks PostgreSQL something: connect, one
// query, close. What the benchmarks measure is held against it. Its argument is a
// connection URL.
package main

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "SELECT 1").ReadAll(); err != nil {
		log.Fatal(err)
	}
	if err := conn.Close(ctx); err != nil {
		log.Fatal(err)
	}
}
