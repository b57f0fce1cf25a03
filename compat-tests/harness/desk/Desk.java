import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PipedInputStream;
import java.io.PipedOutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main methods of many programs in one JVM, several at a time, each on a thread of its
 * own with standard streams of its own. Starting a JVM per tool would cost a second or two each.
 *
 * A line of input is a JSON object:
 *   {"id":1,"main":"some.Class","args":["..."]}   start a call
 *   {"id":1,"line":"text"}                        a line of its standard input
 *   {"id":1,"end":true}                           the end of its standard input
 * A line of output likewise, bytes as Latin-1 characters:
 *   {"id":1,"out":"..."}, {"id":1,"err":"..."}, and last {"id":1,"code":0}
 */
public class Desk {
    static final ObjectMapper JSON = new ObjectMapper();
    static final PrintStream REAL = System.out;
    static final Map<Long, Call> CALLS = new ConcurrentHashMap<>();
    // Inherited, so that a tool's own threads print where the tool does.
    static final InheritableThreadLocal<Call> CURRENT = new InheritableThreadLocal<>();

    /** What Exit.exit throws; the first code counts, since a tool may catch this and exit again. */
    static class Exited extends Error {
        Exited(String message) {
            super(message, null, false, false);
        }
    }

    static class Call {
        final long id;
        final PipedOutputStream feed = new PipedOutputStream();
        final InputStream in;
        final List<Runnable> hooks = Collections.synchronizedList(new ArrayList<>());
        Integer code;

        Call(long id) throws IOException {
            this.id = id;
            in = new PipedInputStream(feed, 1 << 20);
        }

        void run(String main, String[] args) {
            try {
                Class.forName(main).getMethod("main", String[].class).invoke(null, (Object) args);
            } catch (InvocationTargetException e) {
                fail(e.getCause());
            } catch (Throwable e) {
                fail(e);
            }
            hooks.forEach(Runnable::run);
            System.out.flush();
            System.err.flush();
            CALLS.remove(id);
            ObjectNode end = JSON.createObjectNode().put("id", id).put("code", code == null ? 0 : code);
            say(end);
        }

        void fail(Throwable e) {
            if (e instanceof Exited) {
                return;
            }
            e.printStackTrace();
            exit(1);
        }

        synchronized void exit(int status) {
            if (code == null) {
                code = status;
            }
        }
    }

    static void say(ObjectNode node) {
        synchronized (REAL) {
            REAL.println(node);
            REAL.flush();
        }
    }

    /** Sends what is written to the call that writes it. */
    static class Routed extends OutputStream {
        final String name;

        Routed(String name) {
            this.name = name;
        }

        @Override
        public void write(int b) {
            write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] b, int from, int count) {
            Call call = CURRENT.get();
            if (call != null && count > 0) {
                say(JSON.createObjectNode().put("id", call.id)
                    .put(name, new String(b, from, count, StandardCharsets.ISO_8859_1)));
            }
        }
    }

    /** Reads from the input of the call that reads. */
    static class RoutedIn extends InputStream {
        @Override
        public int read() throws IOException {
            return CURRENT.get().in.read();
        }

        @Override
        public int read(byte[] b, int from, int count) throws IOException {
            return CURRENT.get().in.read(b, from, count);
        }

        @Override
        public int available() throws IOException {
            return CURRENT.get().in.available();
        }
    }

    static void install() {
        System.setOut(new PrintStream(new Routed("out"), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new Routed("err"), true, StandardCharsets.UTF_8));
        System.setIn(new RoutedIn());
        Exit.Procedure exit = (status, message) -> {
            Call call = CURRENT.get();
            call.exit(status);
            if (message != null) {
                System.err.println(message);
            }
            throw new Exited("exit " + status);
        };
        Exit.setExitProcedure(exit);
        Exit.setHaltProcedure(exit);
        // The JVM outlives the tools: what they leave for its end is done at theirs.
        Exit.setShutdownHookAdder((name, hook) -> CURRENT.get().hooks.add(hook));
    }

    static void handle(JsonNode request) throws IOException {
        long id = request.get("id").asLong();
        if (request.has("main")) {
            Call call = new Call(id);
            CALLS.put(id, call);
            String main = request.get("main").asText();
            String[] args = JSON.convertValue(request.get("args"), String[].class);
            new Thread(() -> {
                CURRENT.set(call);
                call.run(main, args);
            }, main).start();
            return;
        }
        Call call = CALLS.get(id);
        if (call == null) {
            return; // it ended in the meantime
        }
        try {
            if (request.has("line")) {
                call.feed.write((request.get("line").asText() + "\n").getBytes(StandardCharsets.UTF_8));
                call.feed.flush();
            }
            if (request.has("end")) {
                call.feed.close();
            }
        } catch (IOException e) {
            CALLS.remove(id); // it reads no more
        }
    }

    public static void main(String[] args) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        install();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            handle(JSON.readTree(line));
        }
        Runtime.getRuntime().halt(0);
    }
}
