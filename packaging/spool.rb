# Homebrew formula. UNTESTED: written without a machine that has Homebrew; url and sha256 are those of a release.
class Spool < Formula
  desc "Durable completion outbox for people who run agents"
  homepage "https://example.invalid/spool"
  url "https://example.invalid/spool/spool-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    system bin/"spool", "man", "--dir", buildpath/"man"
    man1.install Dir["man/*.1"]
    generate_completions_from_executable(bin/"spool", "completions")
  end

  service do
    run [opt_bin/"spool", "drain"]
    keep_alive true
    error_log_path var/"log/spool.log"
  end

  test do
    ENV["SPOOL_DIR"] = testpath/"spool"
    system bin/"spool-put", "--session", "agent:main:main", "from the formula"
    assert_match "pending", shell_output("#{bin}/spool list")
  end
end
