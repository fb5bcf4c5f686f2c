// Loads a compose file as `docker compose config` does, with every profile, and prints its services; anything wrong ends it with 1.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithOsEnv, cli.WithResolvedPaths(true), cli.WithProfiles([]string{"*"}))
	check(err)
	project, err := options.LoadProject(context.Background())
	check(err)
	for _, service := range project.ServiceNames() {
		fmt.Println(service)
	}
	// Files that are mounted and secrets have to be there: an engine would make folders in their place.
	for _, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type == "bind" {
				_, err := os.Stat(volume.Source)
				check(err)
			}
		}
	}
	for _, secret := range project.Secrets {
		_, err := os.Stat(secret.File)
		check(err)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
