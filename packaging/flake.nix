# Nix flake. UNTESTED: written without a machine that has Nix. Copy it to the root of the project to use it.
{
  description = "A durable completion outbox";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      forAll = nixpkgs.lib.genAttrs systems;
    in {
      packages = forAll (system:
        let pkgs = nixpkgs.legacyPackages.${system}; in {
          default = pkgs.rustPlatform.buildRustPackage {
            pname = "spool";
            version = "0.1.0";
            src = ./.;
            cargoLock.lockFile = ./Cargo.lock;
            # The tests need file systems, runners and a network of their own.
            doCheck = false;
            nativeBuildInputs = [ pkgs.installShellFiles ];
            postInstall = ''
              $out/bin/spool man --dir man
              installManPage man/*.1
              for shell in bash zsh fish; do $out/bin/spool completions $shell > spool.$shell; done
              installShellCompletion spool.bash spool.zsh spool.fish
            '';
          };
        });
    };
}
