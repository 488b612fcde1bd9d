import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import software.amazon.event.ruler.Machine;

/**
 * The peer of the benchmark: event-ruler with the rules and the events of two files, doing what its
 * standard input says, as `process.py` does. What it is given are texts, as its interface takes them, and it
 * parses them itself.
 */
final class EventRuler {
    /** The thread's processor time: what else the machine does is not in it. */
    private static final ThreadMXBean CLOCK = ManagementFactory.getThreadMXBean();

    private EventRuler() { }

    public static void main(final String[] args) throws Exception {
        final Machine machine = Machine.builder().build();
        final List<String[]> rules = rules(args[0]);
        final long started = System.nanoTime();
        for (final String[] rule : rules) {
            machine.addRule(rule[0], rule[1]);
        }
        say("built", (System.nanoTime() - started) / 1e9);
        final String[] events = Files.readAllLines(Path.of(args[1])).toArray(new String[0]);
        final List<String[]> more = rules(args[2]);

        final BufferedReader orders =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String order = orders.readLine(); order != null; order = orders.readLine()) {
            final String[] words = order.split(" ");
            if (words[0].equals("match")) {
                match(machine, events, (long) (Double.parseDouble(words[1]) * 1e9));
            } else {
                add(machine, more);
            }
        }
    }

    private static void match(final Machine machine, final String[] events, final long nanos)
            throws Exception {
        long matched = 0;
        long count = 0;
        final long started = CLOCK.getCurrentThreadCpuTime();
        long now = started;
        // One round through the events at least, and whole rounds only, as the other does.
        while (now - started < nanos) {
            for (final String event : events) {
                matched += machine.rulesForJSONEvent(event).size();
            }
            count += events.length;
            now = CLOCK.getCurrentThreadCpuTime();
        }
        say("matched", (now - started) / 1e9, count, matched);
    }

    private static void add(final Machine machine, final List<String[]> rules) throws Exception {
        final double[] took = new double[rules.size()];
        for (int i = 0; i < took.length; i++) {
            final String[] rule = rules.get(i);
            final long started = CLOCK.getCurrentThreadCpuTime();
            machine.addRule(rule[0], rule[1]);
            took[i] = (CLOCK.getCurrentThreadCpuTime() - started) / 1e6;
        }
        for (final String[] rule : rules) {
            machine.deleteRule(rule[0], rule[1]);
        }
        Arrays.sort(took);
        say("added", took[took.length / 2]);
    }

    /** Reads names and patterns, a tab between them. */
    private static List<String[]> rules(final String file) throws IOException {
        final List<String[]> rules = new ArrayList<>();
        for (final String line : Files.readAllLines(Path.of(file))) {
            rules.add(line.split("\t", 2));
        }
        return rules;
    }

    private static void say(final String what, final double... figures) {
        final StringBuilder line = new StringBuilder(what);
        for (final double figure : figures) {
            line.append(' ').append(figure);
        }
        System.out.println(line);
        System.out.flush();
    }
}
